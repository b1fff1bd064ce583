"""One handler that answers a constant, on the product's server and framework: the ceiling."""

from __future__ import annotations

import argparse
from typing import Any

import uvloop
from litestar import Litestar, Response, get

from bootstrap.roles import serve
from bootstrap.stopping import Stop

BODY = b'{"ok":true}'


@get("/bare", sync_to_thread=False)
def bare() -> Response[bytes]:
    """Answer the constant."""
    return Response(BODY, media_type="application/json")


async def main(port: int) -> None:
    """Serve as the product does until told to stop."""
    app: Any = Litestar([bare], openapi_config=None)
    stop = Stop()
    stop.listen()
    await serve(app, f"127.0.0.1:{port}", stop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(main(parser.parse_args().port))
