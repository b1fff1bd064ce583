"""The Litestar application inside the conventions: handlers, and nothing that Litestar would add.

Owns the framework's configuration only. ``bootstrap/wiring/`` puts ``Conventions`` around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Litestar
from litestar.types import ControllerRouterHandler

from adapters.http.errors import Mapper, exception_handlers


def application(
    handlers: Sequence[ControllerRouterHandler],
    *,
    errors: Mapping[type[Exception], Mapper] | None = None,
    **options: Any,
) -> Litestar:
    """An application of these handlers; ``errors`` maps an API's exceptions to problems.

    ``options`` (``lifespan``, ``state``, ``dependencies``, …) go to Litestar as they are.
    """
    return Litestar(
        route_handlers=list(handlers),
        exception_handlers=exception_handlers(errors),  # type: ignore[arg-type]  # invariant dict
        openapi_config=None,  # ours says more: adapters.http.openapi
        logging_config=None,  # its lines hold paths and traces
        debug=False,
        request_max_body_size=None,  # Conventions limits bodies
        **options,
    )
