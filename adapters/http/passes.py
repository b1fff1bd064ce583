"""Whether who opened a connection may keep it.

Owns the same question that ``conventions`` asks before a request, for answers that go on for hours:
it is asked again with the same headers, and counts towards no limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from adapters.http.context import RequestContext
from adapters.http.doors import Rule
from adapters.http.principal import Principal
from adapters.http.problems import Problem
from projections.following import Reason


class Pass:
    """The credentials of one open connection (``projections.following.Credentials``)."""

    __slots__ = ("_clock", "_context", "_path", "_rule")

    def __init__(
        self, context: RequestContext, rule: Rule, clock: Callable[[], float] = time.time
    ) -> None:
        self._context = context
        self._rule = rule
        self._path = context.scope["path"]
        self._clock = clock

    def good(self) -> bool:
        """Whether it is known without waiting that they are still good."""
        authenticator = self._context.authenticator
        if authenticator is None:
            return True
        principal = authenticator.cached(self._context.headers)
        return principal is not None and self._refused(principal) is None

    async def check(self) -> Reason | None:
        """Look again: None if all is as it was."""
        context = self._context
        if context.authenticator is None:
            return None
        try:
            principal = await context.authenticator.authenticate(
                context.headers, context.client_address
            )
        except Problem as problem:
            if problem.status == 401:
                return "unauthenticated"
            return "forbidden" if problem.status == 403 else None
        return self._refused(principal)

    def _refused(self, principal: Principal) -> Reason | None:
        try:
            self._rule.admit(principal, "GET", self._path, self._clock())
        except Problem:
            return "forbidden"
        return None
