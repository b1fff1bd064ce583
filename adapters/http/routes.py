"""Which methods a path takes, over both APIs.

The gateway sends reads to one API and writes to the other, so that each knows half of a path's
methods. Owns what makes 405 and its ``Allow`` right all the same: a table of all routes, which is
asked only when the router has found nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec
from litestar import Router
from litestar.controller import Controller
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler

_PARAMETER = re.compile(r"\{([^}:]+)(?::([^}]+))?\}")


class Route(msgspec.Struct, frozen=True):
    """A handler at one of its paths; ``template`` is as OpenAPI has it (``/x/{id}``)."""

    template: str
    parameters: tuple[tuple[str, str], ...]
    methods: tuple[str, ...]
    handler: HTTPRouteHandler


def walk(handlers: Iterable[ControllerRouterHandler]) -> Iterator[Route]:
    """All routes of handlers, routers and controllers, in the order given.

    ``parameters`` have their name and Litestar's type (``uuid``, ``str``, ``int``, ``path``).
    """
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            for path in sorted(handler.paths) or ["/"]:
                yield _route(path, handler)
        elif isinstance(handler, Router):
            for route in handler.routes:
                if isinstance(route, HTTPRoute):
                    for inner in route.route_handlers:
                        if inner.http_methods != {"OPTIONS"}:  # Litestar's own
                            yield _route(route.path, inner)
        elif isinstance(handler, type) and issubclass(handler, Controller):
            yield from walk([Router("/", route_handlers=[handler])])


def _route(path: str, handler: HTTPRouteHandler) -> Route:
    full = "/" + "/".join(part for part in path.split("/") if part)
    found = tuple((match[1], match[2] or "str") for match in _PARAMETER.finditer(full))
    return Route(
        _PARAMETER.sub(r"{\1}", full),
        found,
        tuple(sorted(str(method) for method in handler.http_methods)),
        handler,
    )


class Routes:
    """All paths of the contract with their methods."""

    def __init__(self, handlers: Iterable[ControllerRouterHandler]) -> None:
        """Take the handlers of both APIs."""
        methods: dict[str, set[str]] = {}
        for route in walk(handlers):
            methods.setdefault(route.template, set()).update(route.methods)
        self._methods = {
            template: frozenset(found | ({"HEAD"} if "GET" in found else set()) | {"OPTIONS"})
            for template, found in methods.items()
        }
        self._patterns = [
            (re.compile(_pattern(template)), template)
            for template in sorted(self._methods, key=lambda t: t.count("{"))
        ]

    def methods(self, path: str) -> frozenset[str]:
        """The methods of a canonical path, none where no API knows it."""
        for pattern, template in self._patterns:
            if pattern.fullmatch(path):
                return self._methods[template]
        return frozenset()


def _pattern(template: str) -> str:
    return "".join(
        "[^/]+" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{[^}]+\})", template)
    )
