"""What the server draws for an operator: quarantine, events, operations and the audit log.

Owns these parts. They are pages of lists that the API has as well; a link to the next page names
the last item seen. What is personal stays hidden here, whatever the operator may: a console is
looked at over shoulders and photographed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from adapters.http.problems import Problem, invalid
from domain.faults import Fault
from domain.operation import State as OperationState
from domain.operation import is_operators
from projections.engine.quarantine import State
from projections.ops.audit import AuditFilter, AuditLog, Category
from projections.oversight import EventFilter, EventShown, ItemFilter, OperationFilter, Oversight
from read_api.console.parts import AnyRequest, Part, Text
from read_api.operations import Showing

Position = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]

PAGE = 25
STREAM = 200
"""Versions of one stream, and events of one request, that are shown at once."""


class QuarantineQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item, or those of a state, a projection, a stream; ``below`` is the last one seen."""

    id: UUID | None = None
    state: State | None = None
    projection: Text | None = None
    stream_id: Text | None = None
    below: Position | None = None
    below_id: UUID | None = None


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events; without anything the last ones. ``position`` is one event with its causes."""

    position: Position | None = None
    stream_id: Text | None = None
    topic: Text | None = None
    correlation_id: Text | None = None
    after: Position | None = None
    before: Position | None = None


class OperationsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operation, or those of a state and kind; ``below`` is the time of the last one seen."""

    id: UUID | None = None
    state: OperationState | None = None
    kind: Text | None = None
    below: Moment | None = None
    below_id: UUID | None = None


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which items of the audit log; ``below`` is the position of the last one seen."""

    actor: Text | None = None
    action: Text | None = None
    target: Text | None = None
    category: Category | None = None
    below: Position | None = None


def _after(last: Any, item_id: UUID | None) -> Any:
    """Where a list goes on; its two halves come together or not at all."""
    if (last is None) != (item_id is None):
        raise invalid(Fault("below_id", "required", "This and below belong together."))
    return None if last is None else (last, item_id)


class Lists:
    """What the templates of these parts are given."""

    def __init__(self, oversight: Oversight, audit: AuditLog, operations: Showing) -> None:
        self._oversight = oversight
        self._audit = audit
        self._operations = operations

    async def quarantine(self, request: AnyRequest, asked: QuarantineQuery) -> dict[str, Any]:
        """One event in quarantine, or a page of them."""
        wanted = ItemFilter(
            id=asked.id, state=asked.state, projection=asked.projection, stream_id=asked.stream_id
        )
        found = await self._oversight.quarantine(
            wanted, below=_after(asked.below, asked.below_id), limit=PAGE + 1
        )
        if asked.id is None:
            return {"one": None, "asked": asked, "items": found[:PAGE], "more": len(found) > PAGE}
        if not found:
            raise Problem("NOT_FOUND", "There is no such event in quarantine.")
        one = found[0]
        return {"one": one, "asked": asked, "event": await self._event_at(one.position)}

    async def _event_at(self, position: int) -> EventShown | None:
        wanted = EventFilter(after=max(position - 1, 0), before=position + 1)
        found = await self._events_of(wanted, limit=1)
        return found[0] if found else None

    async def _events_of(self, wanted: EventFilter, *, limit: int) -> Sequence[EventShown]:
        return await self._oversight.events(wanted, personal=False, limit=limit)

    async def events(self, request: AnyRequest, asked: EventsQuery) -> dict[str, Any]:
        """One event and its causes, a stream version by version, or a page of events."""
        head = await self._oversight.head()
        if asked.position is not None:
            one = await self._event_at(asked.position)
            if one is None:
                raise Problem("NOT_FOUND", "There is no event at this position.")
            chain = await self._events_of(
                EventFilter(correlation_id=one.correlation_id), limit=STREAM
            )
            return {"view": "one", "asked": asked, "one": one, "chain": chain, "head": head}
        wanted = EventFilter(
            after=asked.after or 0,
            before=asked.before,
            stream_id=asked.stream_id,
            topic=asked.topic,
            correlation_id=asked.correlation_id,
        )
        if asked.stream_id is not None:
            found = await self._events_of(wanted, limit=STREAM + 1)
            shown, more = found[:STREAM], len(found) > STREAM
            versions = list(zip(shown, differences(shown), strict=True))
            return {"view": "stream", "asked": asked, "versions": versions, "more": more}
        filtered = asked.topic is not None or asked.correlation_id is not None
        if filtered or asked.after is not None:
            found = await self._events_of(wanted, limit=PAGE + 1)
            shown, more = found[:PAGE], len(found) > PAGE
        else:
            # Positions have no gaps, so that the last ones are found without a search.
            top = head + 1 if asked.before is None else min(asked.before, head + 1)
            low = max(top - 1 - PAGE, 0)
            found = await self._events_of(EventFilter(after=low, before=top), limit=PAGE)
            shown, more = list(reversed(found)), low > 0
        return {
            "view": "list",
            "asked": asked,
            "head": head,
            "events": shown,
            "more": more,
            "ascending": filtered or asked.after is not None,
        }

    async def operations(self, request: AnyRequest, asked: OperationsQuery) -> dict[str, Any]:
        """One operation, or a page of them."""
        values: dict[str, Any] = {"asked": asked, "is_operators": is_operators}
        if asked.id is not None:
            one = await self._operations.get_any(asked.id)
            if one is None:
                raise Problem("NOT_FOUND", "There is no such operation.")
            return {**values, "one": one}
        found = await self._oversight.operations(
            OperationFilter(state=asked.state, kind=asked.kind),
            below=_after(asked.below, asked.below_id),
            limit=PAGE + 1,
        )
        return {**values, "one": None, "operations": found[:PAGE], "more": len(found) > PAGE}

    async def audit(self, request: AnyRequest, asked: AuditQuery) -> dict[str, Any]:
        """A page of the audit log."""
        wanted = AuditFilter(
            actor=asked.actor, action=asked.action, target=asked.target, category=asked.category
        )
        found = await self._audit.items(wanted, below=asked.below, limit=PAGE + 1, personal=False)
        return {"asked": asked, "items": found[:PAGE], "more": len(found) > PAGE}


def parts(oversight: Oversight, audit: AuditLog, operations: Showing) -> list[Part]:
    """Quarantine, events, operations and the audit log."""
    lists = Lists(oversight, audit, operations)
    return [
        Part("quarantine", QuarantineQuery, lists.quarantine),
        Part("events", EventsQuery, lists.events),
        Part("operations", OperationsQuery, lists.operations),
        Part("audit", AuditQuery, lists.audit),
    ]


class Change(msgspec.Struct, frozen=True):
    """What a version says of a field; ``before`` is None where nothing was known of it."""

    field: str
    before: Any
    after: Any


def differences(stream: Sequence[EventShown]) -> list[list[Change]]:
    """What each event of a stream changed, field by field, as far as the first one shown.

    A field that is hidden is named each time that it occurs: whether it changed is hidden, too.
    """
    known: dict[str, Any] = {}
    found: list[list[Change]] = []
    for event in stream:
        changed = []
        for field, value in event.data.items():
            before = known.get(field)
            if field not in known or before != value or value == {"sealed": True}:
                changed.append(Change(field, before, value))
            known[field] = value
        found.append(changed)
    return found
