"""What the accounts know of a person: the profile, each consent, each login.

Credentials are no part of it: a hash or a seed says nothing about anybody, and helps a thief.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import chain
from uuid import UUID

import msgspec

from domain.accounts.events import ConsentRecorded, LoggedIn, LoggedOut, LoginEnded
from domain.accounts.login import Login
from domain.accounts.person import Person
from projections.accounts.login_history import LoginHistory, login_ids
from projections.accounts.open_logins import LoginDocument
from projections.accounts.open_logins import page as open_logins
from projections.accounts.people import People, Totals, document_of, person, today_of
from projections.reading import Reader
from workers.exports.sources import (
    Exported,
    File,
    Listing,
    Owner,
    OwnerGone,
    Share,
    Streams,
    streams_of,
    uuids,
    with_left_out,
)

_PAGE = 200
"""Open logins that are read together."""


class GivenConsent(msgspec.Struct, frozen=True, kw_only=True):
    """A consent as it was given or taken back, and from where."""

    at: datetime.datetime
    terms_version: str
    privacy_policy_version: str
    data_processing: bool
    marketing: bool
    address: str | None
    agent: str | None


_CONSENT = tuple(name for name in GivenConsent.__struct_fields__ if name != "at")


class PastLogin(msgspec.Struct, kw_only=True):
    """A login; ``ended`` says how it did, null where it expired or goes on.

    ``last_seen`` and ``expires_at`` are known of those that go on.
    """

    id: UUID
    began_at: datetime.datetime
    address: str | None
    agent: str | None
    ended_at: datetime.datetime | None = None
    ended: str | None = None
    last_seen: datetime.datetime | None = None
    expires_at: datetime.datetime | None = None


class Accounts(Exported):
    """The source; ``totals`` reads the statistics that ``/v1/me`` shows, which are the journal's.

    ``beside`` names the projections that the totals come from. ``credentials`` reads where the
    logins lie, which is the write database.
    """

    def __init__(
        self,
        reader: Reader,
        credentials: Reader,
        streams: Streams,
        totals: Callable[[UUID, datetime.date], Awaitable[Totals]],
        beside: tuple[str, ...],
    ) -> None:
        self._reader = reader
        self._credentials = credentials
        self._streams = streams
        self._totals = totals
        self._beside = beside

    @property
    def projections(self) -> tuple[str, ...]:
        """Names of the projections that it reads."""
        return (People.name, LoginHistory.name, *self._beside)

    async def share(self, owner: Owner) -> Share:
        """The person."""
        found = await person(self._reader, owner.user_id)
        if found is None:
            raise OwnerGone
        known, last_login_at = found
        totals = await self._totals(owner.user_id, today_of(known, owner.now))
        document = document_of(known, totals=totals, last_login_at=last_login_at, now=owner.now)
        ids = await login_ids(self._reader, owner.user_id)
        logins = await with_left_out(
            self._reader, owner, LoginHistory.name, lambda: map(Login.stream, uuids(ids))
        )
        stream = Person.stream(owner.user_id)
        return Share(
            parts=(
                File("accounts/profile.json", "You, as /v1/me shows you.", _one(document)),
                Listing(
                    "accounts/consents.json",
                    "What you agreed to and took back, oldest first.",
                    self._consents(owner, stream),
                ),
                Listing(
                    "accounts/logins.json",
                    "Each login, with the address and the agent that it came from.",
                    self._logins(owner, logins()),
                ),
            ),
            streams=chain([stream], logins()),
            size=len(ids) // 16,
        )

    async def _consents(self, owner: Owner, stream: str) -> AsyncIterator[GivenConsent]:
        async for events in streams_of(owner, self._streams, [stream]):
            for recorded in events:
                if isinstance(recorded.event, ConsentRecorded):
                    fields = {name: getattr(recorded.event, name) for name in _CONSENT}
                    yield GivenConsent(at=recorded.recorded_at, **fields)

    async def _open(self, owner: Owner) -> dict[UUID, LoginDocument]:
        found: dict[UUID, LoginDocument] = {}
        after: UUID | None = None
        while True:
            page, after = await open_logins(
                self._credentials, owner.user_id, current=None, after=after, limit=_PAGE
            )
            found.update((login.id, login) for login in page)
            if after is None:
                return found

    async def _logins(self, owner: Owner, streams: Iterable[str]) -> AsyncIterator[PastLogin]:
        still_open = await self._open(owner)
        async for events in streams_of(owner, self._streams, streams):
            login: PastLogin | None = None
            for recorded in events:
                event = recorded.event
                if isinstance(event, LoggedIn):
                    login = PastLogin(
                        id=event.login_id,
                        began_at=recorded.recorded_at,
                        address=event.address,
                        agent=event.agent,
                    )
                elif login is not None and isinstance(event, LoggedOut | LoginEnded):
                    login.ended_at = recorded.recorded_at
                    login.ended = event.reason if isinstance(event, LoginEnded) else "logout"
            if login is not None:
                if known := still_open.get(login.id):
                    login.last_seen, login.expires_at = known.last_seen, known.expires_at
                yield login


async def _one(document: object) -> AsyncIterator[bytes]:
    yield msgspec.json.format(msgspec.json.encode(document), indent=2)
