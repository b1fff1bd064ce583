"""The audit log and the log of requests, as operators read them.

Owns the SQL on ``ops_audit`` and ``ops_requests``. What an item's event changed is told from the
events of its stream when it is asked for, so that no copy of what people wrote lies anywhere.
``projections.ops.audit.AuditLog`` is the port.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, get_args

import msgspec

from adapters.event_store.mapper import ORIGIN, Unreadable, shown, subjects_in
from adapters.event_store.personal import ERASED
from adapters.event_store.personal import HIDDEN as SEALED
from adapters.event_store.subject_keys import SubjectKeys
from adapters.operations import SET_OPERATOR
from adapters.postgres.pipeline import Pipeline, Statement
from projections.ops.audit import (
    HIDDEN,
    AuditFilter,
    Category,
    Item,
    Requested,
    RequestFilter,
    Told,
    changes,
)

LOOK_BACK = 1000
"""Events of a stream that are looked through for a field's earlier value, at most."""

_ITEMS = """
SELECT a.position, a.id, a.at, a.actor, a.action, a.target, a.category, a.request_id,
       e.stream_id, e.stream_version
FROM ops_audit a JOIN events e ON e.position = a.position
WHERE a.position < $1{conditions}
ORDER BY a.position DESC LIMIT $2
"""
_FILTERS: dict[str, tuple[str, str]] = {
    "actor": ("a.actor = {}", "text"),
    "action": ("a.action = {}", "text"),
    "target": ("a.target = {}", "text"),
    "since": ("a.at >= {}", "timestamptz"),
    "until": ("a.at < {}", "timestamptz"),
}
_STREAMS = Statement(
    "audit_streams",
    """
    SELECT e.stream_id, e.stream_version, e.topic, e.data
    FROM unnest($1, $2, $3) AS s (id, low, high)
    JOIN events e ON e.stream_id = s.id AND e.stream_version BETWEEN s.low AND s.high
    ORDER BY e.stream_id, e.stream_version
    """,
    ("text[]", "int4[]", "int4[]"),
)
_REQUESTS = Statement(
    "audit_requests",
    """
    SELECT id, at, service, request_id, method, route, status, duration_ms, user_id, tenant_id,
           api_key_id, client_version, address
    FROM ops_requests
    WHERE ($1 IS NULL OR request_id = $1) AND ($2 IS NULL OR status >= $2)
      AND ($3 IS NULL OR at >= $3) AND ($4 IS NULL OR at < $4)
      AND ($5 IS NULL OR (at, id) < ($5, $6))
    ORDER BY at DESC, id DESC LIMIT $7
    """,
    ("text", "int4", "timestamptz", "timestamptz", "timestamptz", "int8", "int8"),
)
_TRIM_AUDIT = Statement("audit_trim", "SELECT ops_trim_audit($1)", ("timestamptz",))
_TRIM_REQUESTS = Statement(
    "audit_trim_requests",
    "WITH gone AS (DELETE FROM ops_requests WHERE at < $1 RETURNING 1) SELECT count(*) FROM gone",
    ("timestamptz",),
)
_END = 2**63 - 1


@cache
def _items_with(filters: tuple[str, ...], category: Category | None) -> Statement:
    """The items with these filters; conditions that apply at times would keep it from an index.

    The category is no parameter: an index holds only the rarer ones, which a plan must know.
    """
    conditions, types = "", ["int8", "int8"]
    if category is not None:
        assert category in get_args(Category)
        conditions += f" AND a.category = '{category}'"
    for name in filters:
        condition, kind = _FILTERS[name]
        types.append(kind)
        conditions += f" AND {condition.format(f'${len(types)}')}"
    return Statement(
        "_".join(("audit_items", category or "", *filters)),
        _ITEMS.format(conditions=conditions),
        types,
    )


class PostgresAuditLog:
    """Reads both logs; the pipeline's role is ``mindstream_read`` or ``mindstream_write``.

    ``keys`` open what is sealed of events; without any nobody is shown that.
    """

    def __init__(self, pipeline: Pipeline, keys: SubjectKeys | None = None) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def items(
        self, wanted: AuditFilter, *, below: int | None, limit: int, personal: bool
    ) -> list[Item]:
        """Items, newest first, with what they changed."""
        given = {name: value for name in _FILTERS if (value := getattr(wanted, name)) is not None}
        values = (_END if below is None else below, limit, *given.values())
        _, rows = await self._pipeline.run(
            (SET_OPERATOR, ()), (_items_with(tuple(given), wanted.category), values)
        )
        if not rows:
            return []
        told = await self._told([(row[8], row[9]) for row in rows], personal=personal)
        return [_item(row, told) for row in rows]

    async def _told(self, places: Sequence[tuple[str, int]], *, personal: bool) -> dict[Any, Any]:
        """For each of these places what its event says, and what was there before and after."""
        spans: dict[str, tuple[int, int]] = {}
        for stream, version in places:
            low, high = spans.get(stream, (version, version))
            spans[stream] = min(low, max(1, version - LOOK_BACK)), max(high, version)
        lows, highs = zip(*spans.values(), strict=True)
        [rows] = await self._pipeline.run((_STREAMS, (list(spans), lows, highs)))
        if self._keys is not None:
            await self._keys.load(self._pipeline, subjects_in(row[3] for row in rows))
        streams: dict[str, list[Told]] = {}
        for row in rows:
            streams.setdefault(row[0], []).append(self._opened(row))
        return {
            (stream, told.version): (told, before, after, personal)
            for stream, events in streams.items()
            for told, (before, after) in zip(
                events, changes(events, personal=personal), strict=True
            )
        }

    def _opened(self, row: tuple[Any, ...]) -> Told:
        """What an event says, as far as it can be opened."""
        stream, version, topic, data = row
        ciphers = {} if self._keys is None else self._keys.ciphers
        try:
            fields = shown(topic, stream, version, data, ciphers, personal=True, origin=True)
            hidden = shown(topic, stream, version, data, ciphers, personal=False)
        except (Unreadable, msgspec.MsgspecError):  # somebody broke it; that it was is known
            return Told(version, topic, {}, frozenset())
        names = frozenset(name for name, value in hidden.items() if value == SEALED)
        # What an event says itself of where it came from goes before what was noted with it.
        fields = {**fields.pop(ORIGIN, {}), **fields}
        gone = {name: SEALED for name, value in fields.items() if value == ERASED}
        return Told(version, topic, {**fields, **gone}, names)

    async def requests(
        self, wanted: RequestFilter, *, below: tuple[datetime, int] | None, limit: int
    ) -> list[Requested]:
        """Requests, newest first."""
        values = (wanted.request_id, wanted.status, wanted.since, wanted.until)
        _, rows = await self._pipeline.run(
            (SET_OPERATOR, ()), (_REQUESTS, (*values, *(below or (None, None)), limit))
        )
        return [Requested(*row) for row in rows]

    async def trim(self, audit_before: datetime, requests_before: datetime) -> int:
        """Drop what is older; how many rows. The role is ``mindstream_write``."""
        _, [(items,)], [(requests,)] = await self._pipeline.run(
            (SET_OPERATOR, ()),
            (_TRIM_AUDIT, (audit_before,)),
            (_TRIM_REQUESTS, (requests_before,)),
        )
        return int(items) + int(requests)


def _item(row: tuple[Any, ...], told: dict[Any, Any]) -> Item:
    position, id_, at, actor, action, target, category, request_id, stream, version = row
    event, before, after, personal = told[stream, version]
    fields = event.fields
    reason: str | None = fields.get("reason")
    if event.topic.startswith("ops."):
        before, after = fields.get("before"), fields.get("after")
    return Item(
        id=id_,
        at=at,
        actor=actor,
        action=action,
        target=target,
        category=category,
        request_id=request_id,
        address=_seen(fields.get("address"), personal=personal),
        agent=_seen(fields.get("agent"), personal=personal),
        before=before,
        after=after,
        reason=reason if isinstance(reason, str) else None,
        position=position,
    )


def _seen(value: str | None, *, personal: bool) -> Any:
    return value if personal or value is None else HIDDEN
