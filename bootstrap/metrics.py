"""Each process gives its Prometheus metrics on a socket; the gateway makes one page of them.

Owns the sockets, the label ``process`` and the merging. What is measured belongs to whoever
measures it: anything in ``prometheus_client``'s default registry is shown.
"""

from __future__ import annotations

import asyncio
import socketserver
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import structlog
from prometheus_client import REGISTRY, generate_latest

from bootstrap.places import Places

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SCRAPE_SECONDS = 2.0


def serve(places: Places, name: str, address: str | None = None) -> None:
    """Answer on the process's socket from a thread, until the process ends.

    Where there is no gateway on the same machine nobody asks there: then it answers to everybody
    at ``address`` (HOST:PORT) as well, and for what else runs in this home: a projector is two.
    """
    path = places.metrics_socket(name)
    path.unlink(missing_ok=True)
    _serve(socketserver.UnixStreamServer(str(path), _Page))
    if address is None:
        return
    host, _, port = address.rpartition(":")
    try:
        _serve(ThreadingHTTPServer((host.strip("[]"), int(port)), _merged(places, name)))
    except OSError as error:
        # Of several processes of one machine the first has it, and shows all of them.
        structlog.get_logger("bootstrap").warning("metrics_address_taken", reason=str(error))


def _serve(server: socketserver.BaseServer) -> None:
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


async def collect(places: Places, own: str) -> bytes:
    """One page of every process's metrics; ``own`` is the calling process's name.

    A process that does not answer is left out: its series end, which is how one sees it.
    """
    names = {
        path.stem.removeprefix("metrics-"): path for path in places.sockets.glob("metrics-*.sock")
    }
    names.pop(own, None)
    texts = await asyncio.gather(*(_scrape(path) for path in names.values()))
    pages = {name: text for name, text in zip(names, texts, strict=True) if text is not None}
    pages[own] = generate_latest(REGISTRY).decode()
    return merge(dict(sorted(pages.items()))).encode()


def merge(pages: Mapping[str, str]) -> str:
    """Pages by process name as one page: families together, each sample with its process."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for name, page in pages.items():
        fresh: set[str] = set()
        samples: list[str] = []
        for line in page.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                family = line.split(" ", 3)[2]
                if family not in families:
                    families[family] = ([], [])
                    fresh.add(family)
                comments, samples = families[family]
                if family in fresh:
                    comments.append(line)
            elif line and not line.startswith("#"):
                samples.append(_labelled(line, name))
    lines = [line for comments, samples in families.values() for line in (*comments, *samples)]
    return "\n".join(lines) + "\n"


def _labelled(sample: str, process: str) -> str:
    label = f'process="{process}"'
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f"{name}{{{label}{'' if rest.startswith('}') else ','}{rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"


async def _scrape(path: Path) -> str | None:
    try:
        async with asyncio.timeout(SCRAPE_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return answer.partition(b"\r\n\r\n")[2].decode()


class _Page(BaseHTTPRequestHandler):
    def page(self) -> bytes:
        return generate_latest(REGISTRY)

    def do_GET(self) -> None:
        body = self.page()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Scrapes are not worth a line each."""


def _merged(places: Places, name: str) -> type[_Page]:
    class Merged(_Page):
        def page(self) -> bytes:
            return asyncio.run(collect(places, name))

    return Merged
