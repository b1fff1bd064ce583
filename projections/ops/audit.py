"""The audit log: who did what to what, when and in which request.

One row for each event of every context, so that a command cannot be left out. A row says where to
look; what was there before and after, the address, the agent and the reason are in the events and
are read from there (``Item``), where they are sealed if they are personal. So nothing that somebody
wrote lies in this table, and an erasure reaches all of it.

Owns the table ``ops_audit``, the categories, and how changes are told from a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

import msgspec

from domain.event import Event, Recorded, type_of, undecodable
from domain.ops.events import ActionTaken
from projections.engine.view import RowView

Category = Literal["user_data", "security_event", "system_event"]
KEEP_DAYS = 2557
"""Seven years."""
HIDDEN = {"sealed": True}
"""What stands for a personal value that may not be seen."""

_SYSTEM = ("ops.", "flags.")
_SECURITY = ("accounts.",)
_PEOPLES_OWN = frozenset(("accounts.ProfileRevised", "accounts.SettingsRevised"))
_NO_CHANGE = frozenset(("address", "agent"))
"""Fields that say from where something was done, and not what."""
_STATES: Mapping[str, tuple[str, str]] = {
    "journal.EntryDeleted": ("active", "deleted"),
    "journal.EntryRestored": ("deleted", "active"),
    "accounts.PersonDeleted": ("active", "deleted"),
    "accounts.PersonRestored": ("deleted", "active"),
    "accounts.TenantSuspended": ("active", "suspended"),
    "accounts.TenantReactivated": ("suspended", "active"),
    "accounts.LoggedOut": ("open", "ended"),
    "accounts.LoginEnded": ("open", "ended"),
}
"""Events that say by their name what became of something: its state before and after."""


class AuditRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``ops_audit``; ``position`` is the event's, ``id`` too."""

    position: int
    id: UUID
    tenant_id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    category: Category
    request_id: str


class Audit(RowView[AuditRow]):
    """The view ``ops.audit``; takes whatever events there are.

    ``keep_days`` is how long rows are kept: a rebuild leaves out what a sweep has dropped. Both
    count whole days, so that they agree but for the moments after midnight (UTC).
    """

    name: ClassVar[str] = "ops.audit"
    table: ClassVar[str] = "ops_audit"
    row: ClassVar[type[msgspec.Struct]] = AuditRow
    key: ClassVar[tuple[str, ...]] = ("position",)
    with_metadata: ClassVar[bool] = True
    grows_by: ClassVar[str | None] = "position"
    erases: ClassVar[str | None] = None  # it names ids; what they wrote is read from the events

    def __init__(self, keep_days: int = KEEP_DAYS) -> None:
        self.keep_days = keep_days

    @property
    def takes(self) -> tuple[type[Event], ...]:  # type: ignore[override]  # grows with the types
        """Every type of event."""
        return tuple(type_of.values())

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The event itself."""
        return ((recorded.position,),)

    def creates(self, recorded: Recorded) -> bool:
        """Each event begins a row, and none changes one."""
        return True

    def fold(
        self, key: tuple[Any, ...], row: AuditRow | None, recorded: Recorded
    ) -> AuditRow | None:
        """The event's row, unless its time is over."""
        if recorded.recorded_at < cutoff(self.keep_days):
            return None
        metadata, event = recorded.metadata, recorded.event
        if metadata is None:
            raise ValueError(f"event {recorded.position} was read without its metadata")
        if (broken := undecodable(recorded)) is not None and broken.TOPIC == ActionTaken.TOPIC:
            raise broken.error  # of any other event the row says nothing that lies in it
        if type(event) is ActionTaken:
            action, target = event.action, event.target
        else:
            action, target = action_of(event.TOPIC), recorded.stream_id
        return AuditRow(
            recorded.position,
            metadata.event_id,
            recorded.tenant_id,
            recorded.recorded_at,
            metadata.actor,
            action,
            target,
            category_of(event.TOPIC),
            metadata.correlation_id,
        )

    def user_of(self, row: AuditRow) -> UUID:
        """Nobody: no person's page is made of these rows."""
        return _NOBODY


_NOBODY = UUID(int=0)


def cutoff(keep_days: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime:
    """The beginning of the first day that is kept."""
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=keep_days)


def action_of(topic: str) -> str:
    """What an event says was done: its topic without the version."""
    return topic.rpartition(".v")[0] or topic


def category_of(topic: str) -> Category:
    """What an event is about: people's data, the safety of accounts, or the system."""
    if topic.startswith(_SYSTEM):
        return "system_event"
    if topic.startswith(_SECURITY) and action_of(topic) not in _PEOPLES_OWN:
        return "security_event"
    return "user_data"


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which items: all that match every field given; ``since`` inclusive, ``until`` exclusive."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    category: Category | None = None
    since: datetime | None = None
    until: datetime | None = None


class Item(msgspec.Struct, frozen=True):
    """An item of the audit log as operators see it.

    ``before`` and ``after`` hold what changed; ``before`` is null where there was nothing. What is
    personal is ``{"sealed": true}`` for those who may not see it, and where its person was erased.
    """

    id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    category: Category
    request_id: str
    address: str | dict[str, bool] | None
    agent: str | dict[str, bool] | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    position: int


class Requested(msgspec.Struct, frozen=True):
    """A request as it was answered; ``duration_ms`` is milliseconds, ``address`` a network."""

    id: int
    at: datetime
    service: str
    request_id: str
    method: str
    route: str
    status: int
    duration_ms: float
    user_id: UUID | None
    tenant_id: UUID | None
    api_key_id: UUID | None
    client_version: str | None
    address: str | None


class Told(msgspec.Struct, frozen=True):
    """An event's fields as they lie in the store, and which of them are personal."""

    version: int
    topic: str
    fields: dict[str, Any]
    personal: frozenset[str]


class AuditLog(Protocol):
    """Looks into the audit log; ``adapters.audit.PostgresAuditLog`` does."""

    async def items(
        self, wanted: AuditFilter, *, below: int | None, limit: int, personal: bool
    ) -> list[Item]:
        """Items, newest first; ``below`` is the position of the last one seen."""
        ...

    async def requests(
        self, wanted: RequestFilter, *, below: tuple[datetime, int] | None, limit: int
    ) -> list[Requested]:
        """Requests, newest first; ``below`` is time and id of the last one seen."""
        ...


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests; ``status`` is the least one, ``since`` inclusive, ``until`` exclusive."""

    request_id: str | None = None
    status: int | None = None
    since: datetime | None = None
    until: datetime | None = None


def changes(
    stream: Iterable[Told], *, personal: bool
) -> list[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """What each event of a stream changed: the fields' earlier values and the new ones.

    The first of the stream has no earlier ones. Fields that stayed as they were are left out;
    without ``personal`` what people wrote is hidden.
    """
    known: dict[str, Any] = {}
    found: list[tuple[dict[str, Any] | None, dict[str, Any] | None]] = []
    for told in stream:
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        for name, value in told.fields.items():
            if name in _NO_CHANGE:
                continue
            old, new = _difference(known.get(name), value)
            if name in known and old == new:
                continue
            hidden = name in told.personal and not personal
            before[name] = HIDDEN if hidden and old is not None else old
            after[name] = HIDDEN if hidden and new is not None else new
            known[name] = _merged(known.get(name), value)
        if (states := _STATES.get(action_of(told.topic))) is not None:
            before["state"], after["state"] = states
        found.append((before if told.version > 1 else None, after))
    return found


def _difference(old: Any, new: Any) -> tuple[Any, Any]:
    """The two values; of objects that hold only what changed, the same keys of both."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: old.get(key) for key in new}, new
    return old, new


def _merged(old: Any, new: Any) -> Any:
    return {**old, **new} if isinstance(old, dict) and isinstance(new, dict) else new
