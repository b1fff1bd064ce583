"""People, as ``/v1/me`` shows them.

One row for each person. Its document is the person as the aggregate's own fold tells it, so that
the profile is described once; what logins add is a column beside it. A person's totals are the
journal's and are joined by whoever shows them.

Owns the table ``accounts_people`` and the representation.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from domain.accounts.events import (
    ConsentRecorded,
    EmailVerified,
    GithubLinked,
    LoggedIn,
    PasswordReset,
    PermissionsGranted,
    PersonDeleted,
    PersonRegistered,
    PersonRestored,
    ProfileRevised,
    RecoveryCodeUsed,
    SettingsRevised,
    TotpDisabled,
    TotpEnabled,
)
from domain.accounts.person import Consent, Person
from domain.accounts.profile import PREFERENCES, Notifications
from domain.event import Event, Recorded
from projections.engine.view import RowView
from projections.reading import Query, Reader

PERSON = Query(
    "accounts_person",
    "SELECT document, last_login_at FROM accounts_people WHERE user_id = $1",
    ("uuid",),
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Person).decode


class PersonRow(msgspec.Struct, frozen=True):
    """A row of ``accounts_people``; ``document`` is JSON of ``Person``."""

    user_id: UUID
    tenant_id: UUID
    timezone: str
    language: str
    version: int
    created_at: datetime
    last_login_at: datetime | None
    document: str


class People(RowView[PersonRow]):
    """The view ``accounts.people``."""

    name: ClassVar[str] = "accounts.people"
    takes: ClassVar[tuple[type[Event], ...]] = (
        PersonRegistered,
        ProfileRevised,
        SettingsRevised,
        ConsentRecorded,
        PermissionsGranted,
        TotpEnabled,
        TotpDisabled,
        RecoveryCodeUsed,
        GithubLinked,
        PersonDeleted,
        PersonRestored,
        EmailVerified,
        PasswordReset,
        LoggedIn,
    )
    table: ClassVar[str] = "accounts_people"
    row: ClassVar[type[msgspec.Struct]] = PersonRow
    key: ClassVar[tuple[str, ...]] = ("user_id",)
    partitioned: ClassVar[bool] = False  # logins have streams of their own
    personal: ClassVar[tuple[str, ...]] = ("document",)

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The person."""
        return ((recorded.event.user_id,),)  # type: ignore[attr-defined]  # all that it takes have

    def creates(self, recorded: Recorded) -> bool:
        """A login begins a stream of its own, but no person."""
        return type(recorded.event) is PersonRegistered

    def fold(
        self, key: tuple[Any, ...], row: PersonRow | None, recorded: Recorded
    ) -> PersonRow | None:
        """The row after one more event of the person or of a login of theirs."""
        if type(recorded.event) is LoggedIn:
            if row is None:
                return None
            return msgspec.structs.replace(row, last_login_at=recorded.recorded_at)
        person = Person.evolve(None if row is None else _decode(row.document), recorded)
        return PersonRow(
            user_id=person.id,
            tenant_id=person.tenant_id,
            timezone=person.timezone,
            language=person.language,
            version=person.version,
            created_at=person.created_at,
            last_login_at=None if row is None else row.last_login_at,
            document=_encode(person).decode(),
        )


class Totals(Protocol):
    """What the journal tells of a person: ``projections.journal.days.Statistics`` is one."""

    @property
    def current_streak(self) -> int:
        """Days in a row up to today or yesterday."""

    @property
    def longest_streak(self) -> int:
        """Most days in a row."""

    @property
    def total_entries(self) -> int:
        """Entries that are not deleted."""

    @property
    def total_words(self) -> int:
        """Words in them."""

    @property
    def avg_words_per_entry(self) -> int:
        """Rounded down."""


class PersonStatistics(msgspec.Struct, frozen=True):
    """The journal's totals, and for how many days the person has been here."""

    current_streak: int = 0
    longest_streak: int = 0
    total_entries: int = 0
    total_words: int = 0
    avg_words_per_entry: int = 0
    joined_days_ago: int = 0


class PersonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the API shows them to themselves; ``statistics`` is null while unknown."""

    id: UUID
    email: str
    email_verified: bool
    username: str | None
    display_name: str
    full_name: str | None
    organization: str | None
    photo_url: str | None
    bio: str | None
    website: str | None
    phone: str | None
    timezone: str
    language: str
    theme: str
    tier: str
    tenant_id: UUID
    permissions: tuple[str, ...]
    preferences: dict[str, Any]
    notifications: Notifications
    consent: Consent | None
    private_mode: bool
    two_factor_enabled: bool
    github_login: str | None
    statistics: PersonStatistics | None
    created_at: datetime
    last_login_at: datetime | None
    version: int


_SHARED = tuple(set(PersonDocument.__struct_fields__) & set(Person.__struct_fields__))


def today_of(person: Person, now: datetime) -> date:
    """The date where the person is."""
    return now.astimezone(ZoneInfo(person.timezone)).date()


def document_of(
    person: Person, *, totals: Totals | None, last_login_at: datetime | None, now: datetime
) -> PersonDocument:
    """The representation; ``totals`` is None while they cannot be known."""
    shown: dict[str, Any] = {name: getattr(person, name) for name in _SHARED}
    shown["preferences"] = PREFERENCES | person.preferences
    statistics = None
    if totals is not None:
        joined = today_of(person, person.created_at)
        statistics = PersonStatistics(
            totals.current_streak,
            totals.longest_streak,
            totals.total_entries,
            totals.total_words,
            totals.avg_words_per_entry,
            max(0, (today_of(person, now) - joined).days),
        )
    return PersonDocument(**shown, statistics=statistics, last_login_at=last_login_at)


async def person(reader: Reader, user_id: UUID) -> tuple[Person, datetime | None] | None:
    """A person and their last login; None for somebody who is not known (yet)."""
    rows = await reader.rows(PERSON, user_id, user_id=user_id)
    return (_decode(rows[0][0]), rows[0][1]) if rows else None
