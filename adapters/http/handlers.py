"""Decorators for handlers that take the request and return a complete ``Answer``.

Litestar serves any signature: for each request it gathers arguments, converts them, and works out
how to encode what comes back. Ours need none of that, which would cost more than most of them do.
A handler with other parameters than ``request`` takes Litestar's own decorators.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from litestar import HttpMethod, Litestar
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ExceptionHandlersMap


class Direct(HTTPRouteHandler):
    """A handler that is called with the request alone, and whose answer is sent as it is."""

    def __init__(self, path: str, *, http_method: HttpMethod, **options: Any) -> None:
        # The status is for Litestar's own responses; an answer has one of its own.
        super().__init__(path, http_method=http_method, status_code=200, **options)
        self._exceptions: ExceptionHandlersMap | None = None

    def on_registration(self, app: Litestar) -> None:
        """Refuse a handler that asks for more than the request."""
        if list(self.parsed_fn_signature.parameters) != ["request"]:
            raise ImproperlyConfiguredException(f"{self.handler_name} must take only the request")
        super().on_registration(app)

    def resolve_before_request(self) -> Callable[[Any], Awaitable[Any]]:
        """The handler itself: what is called before a request may answer it."""
        handler: Callable[[Any], Awaitable[Any]] = self.fn
        return handler

    async def to_response(self, app: Litestar, data: Any, request: Any) -> Any:
        """The answer as it is."""
        return data

    def resolve_exception_handlers(self) -> ExceptionHandlersMap:
        """Those of all layers, put together once and not for each request."""
        if self._exceptions is None:
            self._exceptions = super().resolve_exception_handlers()
        return self._exceptions


get = partial(Direct, http_method=HttpMethod.GET)
post = partial(Direct, http_method=HttpMethod.POST)
put = partial(Direct, http_method=HttpMethod.PUT)
patch = partial(Direct, http_method=HttpMethod.PATCH)
delete = partial(Direct, http_method=HttpMethod.DELETE)
