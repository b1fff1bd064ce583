"""Who may call what: one table, out of what every handler says of itself.

Owns the doors. ``Access`` is made from the ``Operation`` of each handler; ``conventions`` asks it
before any handler runs, and ``openapi`` writes the same rules down. What no handler describes falls
back to the path: inside ``/v1`` everything needs a principal but what is named here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from litestar.types import ControllerRouterHandler

from adapters.http.operation import OPT, Operation
from adapters.http.principal import Principal
from adapters.http.problems import Problem
from adapters.http.routes import Route, walk

_SLASHES = re.compile("/{2,}")

_OPEN_BELOW = ("/v1/auth/", "/v1/exports/", "/v1/files/")  # the latter two by signed links
_CLOSED_AFTER_ALL = ("/v1/auth/totp",)
_OPEN = frozenset({"/v1/me/restore"})
_ANY = "{}"
"""Stands in the table for a part of a path that varies."""
_RULE = "/"
"""Where in the table the rule of a whole path stands; no part of a path is called so."""

UNLIMITED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Paths that no rate limit counts."""


def canonical(path: str) -> str:
    """The path as the router sees it: single slashes and none at the end."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if len(path) > 1 and path[-1] == "/":
        path = path[:-1]
    return path


def is_open(path: str) -> bool:
    """Whether a canonical path is answered without authentication."""
    if not (path.startswith("/v1/") or path == "/v1"):
        return True
    if path in _OPEN:
        return True
    # Whatever begins like a closed path is closed, be it a path below it or another word.
    return path.startswith(_OPEN_BELOW) and not path.startswith(_CLOSED_AFTER_ALL)


class Rule(msgspec.Struct, frozen=True):
    """Who may make one call.

    ``open``: anybody. Otherwise a principal who has ``permission``, if one is named; ``keys`` says
    whether an API key may stand for the person. What is whose is no question of a rule: a foreign
    id is 404, and decided where the thing is looked for. ``template`` is the call's path.
    """

    template: str
    open: bool
    permission: str | None = None
    keys: bool = True

    def admit(self, principal: Principal, method: str, path: str, now: float) -> Principal:
        """Let the principal pass, with what it may in this call; ``now`` is Unix time.

        Raises:
            Problem: 403.
        """
        key = principal.key
        if key is not None and not self.keys:
            raise Problem("FORBIDDEN", "This is for people: no API key may call it.")
        permission = self.permission
        if permission is None or permission in principal.permissions:
            return principal
        if key is None or permission not in key.conditional:
            raise Problem("FORBIDDEN", f"This needs the permission {permission}.")
        if not key.allows(permission, method, path, now):
            raise Problem("FORBIDDEN", f"The key has {permission} under conditions that fail here.")
        return msgspec.structs.replace(principal, permissions=principal.permissions | {permission})


def rule_of(template: str, operation: Operation) -> Rule:
    """The rule that an operation at this path declares."""
    is_public = is_open(template) if operation.open is None else operation.open
    keys = operation.permission is not None if operation.keys is None else operation.keys
    return Rule(template, is_public, operation.permission, keys and not is_public)


class Access:
    """The rules of all calls by method and path."""

    def __init__(self, handlers: Iterable[ControllerRouterHandler]) -> None:
        """Take the handlers of both APIs.

        Raises:
            ValueError: two operations of one path and method disagree.
        """
        self.rules: dict[tuple[str, str], Rule] = {}
        # The usual paths at the cost of a look: whole ones, and those whose last part alone varies.
        self._whole: dict[tuple[str, str], Rule] = {}
        self._but_last: dict[tuple[str, str], Rule] = {}
        self.fixed: set[str] = set()
        """The paths that vary in no part: such a one is never another call's id."""
        self._tree: dict[str, Any] = {}
        for route in walk(handlers):
            if OPT in route.handler.opt:
                self._add(route, route.handler.opt[OPT])

    def _add(self, route: Route, operation: Operation) -> None:
        rule = rule_of(route.template, operation)
        for method in route.methods:
            if method == "OPTIONS":
                continue
            if self.rules.setdefault((method, route.template), rule) != rule:
                raise ValueError(f"{method} {route.template} has two rules")
            parts = [_ANY if p.startswith("{") else p for p in route.template.split("/")]
            node = self._tree.setdefault(method, {})
            for part in parts[:-1]:
                node = node.setdefault(part, {})
            node.setdefault(parts[-1], {})[_RULE] = rule
            if _ANY not in parts:
                self._whole[method, route.template] = rule
                self.fixed.add(route.template)
            elif _ANY not in parts[:-1]:
                self._but_last[method, "/".join(parts[:-1])] = rule

    def of(self, method: str, path: str) -> Rule | None:
        """The rule of a call, None where there is no such call; HEAD is a GET."""
        if method == "HEAD":
            method = "GET"
        rule = self._whole.get((method, path))
        if rule is not None:
            return rule
        if path in self.fixed:
            return None
        before, _, last = path.rpartition("/")
        rule = self._but_last.get((method, before))
        if rule is not None and last:
            return rule
        node = self._tree.get(method)
        return None if node is None else _find(node, path.split("/"), 0)


def _find(node: dict[str, Any], parts: list[str], at: int) -> Rule | None:
    """The rule below a node: a literal part goes before one that varies."""
    if at == len(parts):
        rule: Rule | None = node.get(_RULE)
        return rule
    part = parts[at]
    literal = node.get(part)
    if literal is not None:
        found = _find(literal, parts, at + 1)
        if found is not None:
            return found
    varying = node.get(_ANY)
    return _find(varying, parts, at + 1) if varying is not None and part else None
