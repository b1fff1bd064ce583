"""What operators see and do in the database: the SQL behind their calls and their command line.

Owns reading of statuses, quarantine, events and operations across all people, and what is changed
of quarantined items. ``projections.oversight.Oversight`` and ``write_api.ops_quarantine.Care`` are
the ports.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from adapters import reactions
from adapters.event_store.mapper import shown, subjects_in
from adapters.event_store.subject_keys import SubjectKeys
from adapters.operations import (
    ACCEPT_PARAMETERS,
    SET_OPERATOR,
    accept_done_sql,
    operation_of,
    operations_sql,
    targeted_of,
    values_of,
)
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.pulse import opened
from adapters.statuses import Elsewhere, Statuses, never_begun
from domain.operation import NewOperation, Operation, Targeted
from domain.reaction import ReactionStatus
from projections.engine import quarantine
from projections.engine.quarantine import Item
from projections.engine.telemetry import ProjectionStatus
from projections.oversight import (
    Blocker,
    EventFilter,
    EventShown,
    ItemFilter,
    OperationFilter,
    Pulse,
)

_BLOCKERS = Statement(
    "oversight_blockers", "SELECT pid, query, since FROM projection_blockers()", ()
)
_REACTIONS = Statement("oversight_reactions", reactions.STATUSES, ())
_HEAD = Statement("oversight_head", "SELECT coalesce(max(position), 0) FROM events", ())
_ITEMS = Statement(
    "oversight_items",
    f"""
    SELECT {quarantine.SHAPE},
           (SELECT count(*) FROM events e
            WHERE NOT q.settled AND e.stream_id = q.stream_id AND e.position > q.position
              AND e.position <= greatest(
                  (SELECT c.position FROM projection_checkpoints c
                   WHERE c.name = q.projection AND c.partition = q.partition),
                  (SELECT r.position FROM reactions r WHERE r.name = q.projection)))
    FROM projection_quarantine q
    WHERE ($1 IS NULL OR id = $1) AND ($2 IS NULL OR state = $2)
      AND ($3 IS NULL OR projection = $3) AND ($4 IS NULL OR stream_id = $4)
      AND ($5 IS NULL OR (position, id) < ($5, $6))
    ORDER BY position DESC, id DESC LIMIT $7
    """,
    ("uuid", "text", "text", "text", "int8", "uuid", "int8"),
)
_EVENTS = Statement(
    "oversight_events",
    """
    SELECT position, stream_id, stream_version, topic, tenant_id, recorded_at, actor,
           correlation_id, causation_id, data
    FROM events
    WHERE position > $1 AND position < $2 AND ($3 IS NULL OR stream_id = $3)
      AND ($4 IS NULL OR topic = $4 OR (topic >= $4 || '.v' AND topic < $4 || '.w'))
      AND ($5 IS NULL OR correlation_id = $5)
    ORDER BY position LIMIT $6
    """,
    ("int8", "int8", "text", "text", "text", "int8"),
)
_OPERATIONS = Statement(
    "oversight_operations",
    operations_sql(
        """WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR kind = $2)
             AND ($3 IS NULL OR (created_at, id) < ($3, $4))
           ORDER BY created_at DESC, id DESC LIMIT $5"""
    ),
    ("text", "text", "timestamptz", "uuid", "int8"),
)
_NOTHING_AFTER = 2**63 - 1


_DONE = """(SELECT json_build_object('count', count(*), 'ids', coalesce(json_agg(id), '[]'))
    FROM (SELECT id::text FROM changed
          UNION ALL SELECT unnest({elsewhere}::text[])) AS every (id))"""


class _Doing(msgspec.Struct, frozen=True):
    """A change of the engine's: by itself, and with the operation that it is in one statement.

    The latter takes the ids of what was changed in other stores after the change's own values.
    """

    change: Statement
    done: Statement


def _doing(name: str, change: str, parameters: dict[str, str]) -> _Doing:
    numbers = {parameter: index for index, parameter in enumerate(parameters, 1)}
    change = re.sub(r"%\((\w+)\)s", lambda found: f"${numbers[found[1]]}", change)
    change = change.replace("%%", "%")
    types = (*parameters.values(), "text[]")
    done = accept_done_sql(_DONE.format(elsewhere=f"${len(types)}"), len(types) + 1)
    return _Doing(
        Statement(f"{name}_elsewhere", change, tuple(parameters.values())),
        Statement(name, f"WITH changed AS ({change}) {done}", (*types, *ACCEPT_PARAMETERS)),
    )


_CHOICE = {"id": "uuid", "projection": "text", "stream_id": "text", "error": "text"}
_RETRY = _doing("oversight_retry", quarantine.RETRY, _CHOICE)
_DISCARD = _doing("oversight_discard", quarantine.DISCARD, {**_CHOICE, "reason": "text"})
_KNOWS_REACTION = Statement(
    "oversight_knows_reaction", "SELECT 1 FROM reactions WHERE name = $1", ("text",)
)
_PAUSE_REACTION = _doing(
    "oversight_pause_reaction", reactions.SET_PAUSED, {"paused": "bool", "name": "text"}
)


class PostgresOversight:
    """``projections.oversight.Oversight``; ``known`` are the projections that can be rebuilt.

    The pipeline's role is ``mindstream_read`` or ``mindstream_write``. ``keys`` open what is sealed
    of events; without any nobody is shown that. ``elsewhere`` are the stores of projections that
    have one of their own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        known: Iterable[tuple[str, int]],
        keys: SubjectKeys | None = None,
        elsewhere: Sequence[Elsewhere] = (),
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._elsewhere = elsewhere
        self._statuses = Statuses(pipeline, elsewhere)
        self._known = sorted(known)

    async def head(self) -> int:
        """The position of the last event."""
        [[(position,)]] = await self._pipeline.run((_HEAD, ()))
        return int(position)

    async def projections(self) -> Sequence[ProjectionStatus]:
        """Every projection that can be rebuilt, by name; with what blocks those that are behind."""
        found = await self._known_ones()
        if not any(each.gap_events for each in found):
            return found
        blockers = await self._blockers()
        return [_with_blockers(each, blockers) for each in found]

    async def _known_ones(self) -> list[ProjectionStatus]:
        found = {each.name: each for each in await self._statuses.all()}
        head = max((each.head for each in found.values()), default=0)
        return [
            found[name] if name in found else never_begun(name, version, head)
            for name, version in self._known
        ]

    async def pulse(self) -> Pulse:
        """What moves by the second; items of a store that does not answer are left out."""
        found, (items, operations, running) = await asyncio.gather(
            self._known_ones(), opened(self._pipeline, self._elsewhere)
        )
        return Pulse(found, items, operations, running)

    async def _blockers(self) -> list[dict[str, Any]] | None:
        [rows] = await self._pipeline.run((_BLOCKERS, ()))
        return [msgspec.structs.asdict(Blocker(*row)) for row in rows] or None

    async def reactions(self) -> Sequence[ReactionStatus]:
        """Every reaction that was ever deployed, by name."""
        [rows] = await self._pipeline.run((_REACTIONS, ()))
        return [reactions.status_of(row) for row in rows]

    async def quarantine(
        self, wanted: ItemFilter, *, below: tuple[int, UUID] | None = None, limit: int
    ) -> Sequence[Item]:
        """Items by position, newest first."""
        values = (wanted.id, wanted.state, wanted.projection, wanted.stream_id)
        values = (*values, *(below or (None, None)), limit)
        [rows] = await self._pipeline.run((_ITEMS, values))
        found = [Item(*row) for row in rows]
        for store in self._elsewhere:
            [rows] = await store.pipeline.run((_ITEMS, values))
            found += (Item(*row) for row in rows)
        found.sort(key=lambda item: (item.position, item.id), reverse=True)
        return found[:limit]

    async def events(
        self, wanted: EventFilter, *, personal: bool, limit: int
    ) -> Sequence[EventShown]:
        """Events in order; personal fields hidden unless ``personal``."""
        before = _NOTHING_AFTER if wanted.before is None else wanted.before
        values = (wanted.after, before, wanted.stream_id, wanted.topic, wanted.correlation_id)
        [rows] = await self._pipeline.run((_EVENTS, (*values, limit)))
        if self._keys is not None:
            await self._keys.load(self._pipeline, subjects_in(row[9] for row in rows))
        ciphers = {} if self._keys is None else self._keys.ciphers
        events = [EventShown(*row) for row in rows]
        return [
            msgspec.structs.replace(
                each,
                data=shown(
                    each.topic,
                    each.stream_id,
                    each.stream_version,
                    row[9],
                    ciphers,
                    personal=personal,
                ),
            )
            for each, row in zip(events, rows, strict=True)
        ]

    async def operations(
        self,
        wanted: OperationFilter,
        *,
        below: tuple[datetime, UUID] | None = None,
        limit: int,
    ) -> Sequence[Targeted]:
        """Operations of everybody, newest first."""
        values = (wanted.state, wanted.kind, *(below or (None, None)), limit)
        _, rows = await self._pipeline.run((SET_OPERATOR, ()), (_OPERATIONS, values))
        return [targeted_of(row) for row in rows]


class PostgresCare:
    """Implements ``Care``: retries and discards; the pipeline's role is ``mindstream_write``.

    ``noting`` notes an action before it is done, where the caller does not.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        noting: Callable[[NewOperation], Awaitable[None]] | None = None,
        elsewhere: Sequence[Elsewhere] = (),
    ) -> None:
        self._pipeline = pipeline
        self._noting = noting
        self._elsewhere = elsewhere

    async def exists(self, item_id: UUID) -> bool:
        """Whether there is or was such an item."""
        look = (_ITEMS, (item_id, None, None, None, None, None, 1))
        for pipeline in (self._pipeline, *(store.pipeline for store in self._elsewhere)):
            [rows] = await pipeline.run(look)
            if rows:
                return True
        return False

    async def retry(
        self,
        new: NewOperation,
        *,
        item_id: UUID | None = None,
        projection: str | None = None,
        stream_id: str | None = None,
        error: str | None = None,
    ) -> Operation:
        """Have matching items tried again at once; the operation, which has ended."""
        choice = (item_id, projection, stream_id, error)
        return await self._done(new, _RETRY, choice, projection)

    async def discard(
        self,
        new: NewOperation,
        reason: str,
        *,
        item_id: UUID | None = None,
        projection: str | None = None,
        stream_id: str | None = None,
        error: str | None = None,
    ) -> Operation:
        """Leave matching events out for good; the operation, which has ended."""
        choice = (item_id, projection, stream_id, error, reason)
        return await self._done(new, _DISCARD, choice, projection)

    async def knows_reaction(self, name: str) -> bool:
        """Whether there is such a reaction."""
        [rows] = await self._pipeline.run((_KNOWS_REACTION, (name,)))
        return bool(rows)

    async def pause_reaction(self, new: NewOperation, name: str, paused: bool) -> Operation:
        """Have a reaction wait, or go on; the operation, which has ended."""
        return await self._done(new, _PAUSE_REACTION, (paused, name))

    async def _done(
        self, new: NewOperation, doing: _Doing, choice: tuple[Any, ...], projection: str | None = ""
    ) -> Operation:
        """Change what is chosen in every store, and accept the operation with the last of it.

        ``projection`` is the one whose items they are, None: any's, and empty: it is no item.

        Raises:
            PipelineLost, psycopg.Error: a store does not answer; asked again, the rest is done.
        """
        if self._noting is not None:
            await self._noting(new)
        changed: list[str] = []
        for store in self._elsewhere:
            if projection is None or projection in store.versions:
                [rows] = await store.pipeline.run((doing.change, choice))
                changed += (str(row[0]) for row in rows)
        [[row]] = await self._pipeline.run((doing.done, (*choice, changed, *values_of(new))))
        return operation_of(row)


def _with_blockers(
    status: ProjectionStatus, blockers: list[dict[str, Any]] | None
) -> ProjectionStatus:
    if not status.gap_events or blockers is None:
        return status
    return msgspec.structs.replace(status, blocked_by=blockers)
