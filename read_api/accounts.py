"""Oneself, and the keys that tokens are checked with, over HTTP."""

from __future__ import annotations

import datetime
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.conditional import etag, not_modified
from adapters.http.context import principal_of
from adapters.http.fresh import wait_seconds
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.problems import Problem, retry_after
from adapters.http.responses import Answer, bare, ok, unchanged
from adapters.http.validation import query
from domain.accounts.person import Person
from projections.accounts.people import (
    People,
    PersonDocument,
    Totals,
    document_of,
    person,
    today_of,
)
from projections.accounts.profile import PROFILE, KnownTotals, Profile
from projections.caching import Place
from projections.reading import Freshness, Reader
from read_api.fresh import fresh
from read_api.shared import Form, Shared

AnyRequest = Request[Any, Any, Any]

PEOPLE = People.name
DAYS = "journal.days"
"""The projection that the totals come from."""


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


def routes(
    reader: Reader,
    freshness: Freshness,
    totals: Callable[[UUID, datetime.date], Awaitable[Totals]],
    jwks: Callable[[], bytes],
    shared: Shared,
    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> list[HTTPRouteHandler]:
    """The handlers.

    ``totals`` reads the journal's statistics of a person as of their today, ``jwks`` gives the key
    set as JSON, ``shared`` is what processes share, ``clock`` tells the time in UTC.
    """

    @get(
        "/v1/me",
        opt={
            "operation": Operation(
                summary="Oneself",
                description="Profile, settings, consent and statistics. `ETag` is the version of"
                " the profile and settings; statistics and the last login may change under it.",
                tags=("Accounts",),
                response=PersonDocument,
                statuses=(200, 304),
                query=NoQuery,
                fresh=True,
                keys=True,
                operation_id="read_me",
            )
        },
    )
    async def read_me(request: AnyRequest) -> Answer:
        user_id = principal_of(request).user_id
        query(request, NoQuery)
        position = await fresh(request, freshness, PEOPLE, DAYS)
        now = clock()

        async def load() -> Profile:
            found, last_login_at = await known(request, user_id)
            today = today_of(found, now)
            counted = await totals(user_id, today)
            return Profile(found, last_login_at, today, _kept(counted))

        profile = await shared.read(
            Place(PROFILE, user_id),
            position,
            load,
            _FORM,
            # Whether a streak goes on depends on the day.
            good=lambda kept: kept.today == today_of(kept.person, now),
        )
        found = profile.person
        if not_modified(request, etag(found.version)):
            return unchanged(request, etag=found.version, token=position)
        document = document_of(
            found, totals=profile.totals, last_login_at=profile.last_login_at, now=now
        )
        return ok(
            request,
            document,
            message="You",
            etag=found.version,
            token=position,
            headers=_NO_STORE,
        )

    async def known(request: AnyRequest, user_id: UUID) -> tuple[Person, datetime.datetime | None]:
        """The person. Whoever has a token exists, so a missing row is only late."""
        deadline = time.monotonic() + wait_seconds(request)
        while True:
            passed = freshness.position(PEOPLE)
            found = await person(reader, user_id)
            if found is not None:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise Problem(
                    "READ_MODEL_BEHIND",
                    f"{PEOPLE} does not know you yet.",
                    extra={"projection": PEOPLE, "lag": 1},
                    headers=retry_after(1),
                )
            await freshness.passed(passed + 1, PEOPLE, within=left)

    @get(
        "/.well-known/jwks.json",
        opt={
            "operation": Operation(
                summary="Public keys of access tokens",
                description="A JWK set (RFC 7517). Keys overlap when they rotate.",
                tags=("Accounts",),
                response=dict[str, list[dict[str, str]]],
                enveloped=False,
                open=True,
                operation_id="read_jwks",
            )
        },
    )
    async def read_jwks(request: AnyRequest) -> Answer:
        return bare(jwks())

    return [read_me, read_jwks]


_FORM = Form(Profile)


def _kept(totals: Totals) -> KnownTotals:
    return KnownTotals(
        totals.current_streak,
        totals.longest_streak,
        totals.total_entries,
        totals.total_words,
        totals.avg_words_per_entry,
    )


_NO_STORE = {"cache-control": "no-store"}
"""The tag does not cover the statistics, so no cache may answer with them by it."""
