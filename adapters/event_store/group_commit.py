"""Group commit: the commits that wait at one moment go to PostgreSQL in one transaction.

A durable commit costs a flush of the write-ahead log, whatever it holds. While one group is being
flushed the next gathers, so that throughput grows with load and a lone command waits for nobody. A
refused commit fails alone; the rest of its group is in.

Owns the grouping and the call of ``append_events``. It knows bytes, not events: encoding happens
before, in the task of whoever commits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import structlog

from adapters.event_store import metrics
from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from commands.ports import Claim, ClaimTaken, VersionConflict

log = structlog.get_logger()

GROUP = 512
"""Commits in one transaction at most."""
GROUP_BYTES = 4 * 1024 * 1024
"""Bytes of events and answers in one transaction at most (one commit may be larger)."""
PATIENCE = 6.0
"""Seconds for which a group is tried again after the connection broke."""

_E = "int4[] text[] int4[] text[] uuid[] bytea[] uuid[] text[] uuid[] text[] text[] timestamptz[]"
_A = "int4[] text[] int4[]"
_K = "int4[] text[] text[] text[] text[]"
_I = "int4[] text[] text[] bytea[] bytea[] timestamptz[]"
_TYPES = f"{_E} {_A} {_K} {_I}".split()

APPEND = Statement(
    "append_events",
    f"SELECT * FROM append_events({', '.join(f'${n + 1}' for n in range(len(_TYPES)))})",
    _TYPES,
)
OURS = Statement(
    "event_at",
    "SELECT event_id FROM events WHERE stream_id = $1 AND stream_version = $2",
    ("text", "int4"),
)


class StoredReplay(Exception):
    """The idempotency key of this commit has an answer, sealed as it was stored."""

    def __init__(self, request_hash: bytes, response: bytes, position: int) -> None:
        super().__init__("answered before")
        self.request_hash = request_hash
        self.response = response
        self.position = position


class Pending:
    """One commit, encoded: columns of its events and what it needs beside them."""

    __slots__ = (
        "actor",
        "appends",
        "causation_id",
        "claims",
        "correlation_id",
        "events",
        "future",
        "key",
        "principal",
        "recorded_at",
        "request_hash",
        "response",
        "retried",
        "size",
        "tenant_id",
        "trace_id",
    )

    def __init__(
        self,
        *,
        tenant_id: UUID,
        actor: str,
        correlation_id: str,
        causation_id: UUID | None,
        trace_id: str | None,
        recorded_at: datetime,
        events: Sequence[tuple[str, int, str, UUID, bytes]],
        appends: Sequence[tuple[str, int]],
        claims: Sequence[Claim],
        principal: str | None = None,
        key: str | None = None,
        request_hash: bytes = b"",
        response: bytes = b"",
    ) -> None:
        self.tenant_id = tenant_id
        self.actor = actor
        self.correlation_id = correlation_id
        self.causation_id = causation_id
        self.trace_id = trace_id
        self.recorded_at = recorded_at
        self.events = events  # (stream, version, topic, event id, data)
        self.appends = appends  # (stream, expected version)
        self.claims = claims
        self.principal = principal
        self.key = key
        self.request_hash = request_hash
        self.response = response
        self.size = len(response) + sum(len(event[4]) for event in events)
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.retried = False


class GroupCommit:
    """Gathers commits of one process and appends them, one group at a time."""

    def __init__(self, pipeline: Pipeline, appended: Callable[[int], None]) -> None:
        self._pipeline = pipeline
        self._appended = appended
        self._waiting: list[Pending] = []
        self._flusher: asyncio.Task[None] | None = None

    async def submit(self, pending: Pending) -> int:
        """Append; the position of the commit's last event (the head's where it has none).

        Raises:
            VersionConflict, ClaimTaken, StoredReplay: this commit was refused, whole.
            psycopg.Error: the database did not take it.
        """
        self._waiting.append(pending)
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await pending.future

    async def drain(self) -> None:
        """Wait until nothing is under way."""
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = _compatible(self._waiting)
                try:
                    await self._append(group)
                except Exception as error:
                    for pending in group:
                        if not pending.future.done():
                            pending.future.set_exception(error)
                    if not isinstance(error, psycopg.Error):
                        log.exception("append_failed")
        finally:
            self._flusher = None

    async def _append(self, group: list[Pending]) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                began = time.perf_counter()
                [rows] = await self._pipeline.run((APPEND, _columns(group)))
                metrics.appends.observe(time.perf_counter() - began)
                metrics.grouped.observe(len(group))
                await self._settle(group, rows)
                return
            except PipelineLost:
                # Whether it was committed is unknown. Doing it again is safe: if it was, every
                # commit now conflicts with its own events, which _settle recognises.
                if asyncio.get_running_loop().time() > deadline:
                    raise
                for pending in group:
                    pending.retried = True
            except psycopg.Error:
                if len(group) == 1:
                    raise
                # One commit that the database cannot take must not fail the others.
                for pending in group:
                    try:
                        await self._append([pending])
                    except psycopg.Error as error:
                        if not pending.future.done():
                            pending.future.set_exception(error)
                return

    async def _settle(self, group: list[Pending], rows: list[tuple[Any, ...]]) -> None:
        refused = {row[0]: row for row in rows if row[0]}
        position = before = next(row[4] for row in rows if not row[0])
        for number, pending in enumerate(group, 1):
            row = refused.get(number)
            if row is None:
                position += len(pending.events)
                if not pending.future.done():
                    pending.future.set_result(position)
                continue
            metrics.refused.labels(row[1]).inc()
            if pending.future.done():
                continue
            if pending.retried and row[1] != "replayed" and (at := await self._ours(pending)):
                pending.future.set_result(at)
            else:
                pending.future.set_exception(_refusal(row))
        metrics.events.inc(position - before)
        self._appended(position)

    async def _ours(self, pending: Pending) -> int | None:
        """The head if the commit's events are in the store already, else None."""
        if not pending.events:
            return None
        stream, version, _, event_id, _ = pending.events[-1]
        found, heads = await self._pipeline.run((OURS, (stream, version)), (HEAD, ()))
        return heads[0][0] if found and found[0][0] == event_id else None


HEAD = Statement("event_head", "SELECT coalesce(max(position), 0) FROM events", ())


def _refusal(row: tuple[Any, ...]) -> Exception:
    _, outcome, subject, holder, position, request_hash, response = row
    if outcome == "conflict":
        return VersionConflict(subject)
    if outcome == "claimed":
        kind, key = subject.split("\x1f", 1)
        return ClaimTaken(kind, key, holder)
    return StoredReplay(request_hash, response, position)


def _compatible(waiting: list[Pending]) -> tuple[list[Pending], list[Pending]]:
    """Split into a group without two commits on one stream, claim or key, and the rest."""
    group: list[Pending] = []
    rest: list[Pending] = []
    taken: set[Any] = set()
    size = 0
    for pending in waiting:
        names: list[Any] = [append[0] for append in pending.appends]
        names += [(claim.kind, claim.key) for claim in pending.claims]
        if pending.key is not None:
            names.append((None, pending.principal, pending.key))
        full = len(group) >= GROUP or (group and size + pending.size > GROUP_BYTES)
        if full or not taken.isdisjoint(names):
            rest.append(pending)
        else:
            group.append(pending)
            size += pending.size
        taken.update(names)  # also of those that wait: the order on a stream is kept
    return group, rest


def _columns(group: list[Pending]) -> list[Sequence[Any]]:
    events: list[tuple[Any, ...]] = []
    appends: list[tuple[Any, ...]] = []
    claims: list[tuple[Any, ...]] = []
    keys: list[tuple[Any, ...]] = []
    for number, one in enumerate(group, 1):
        for stream, version, topic, event_id, data in one.events:
            events.append(
                (
                    number,
                    stream,
                    version,
                    topic,
                    event_id,
                    data,
                    one.tenant_id,
                    one.correlation_id,
                    one.causation_id,
                    one.actor,
                    one.trace_id,
                    one.recorded_at,
                )
            )
        appends.extend((number, stream, expected) for stream, expected in one.appends)
        claims.extend(
            (number, claim.kind, claim.key, claim.expected, claim.holder) for claim in one.claims
        )
        if one.key is not None:
            keys.append(
                (number, one.principal, one.key, one.request_hash, one.response, one.recorded_at)
            )
    return [
        *_transpose(events, 12),
        *_transpose(appends, 3),
        *_transpose(claims, 5),
        *_transpose(keys, 6),
    ]


def _transpose(rows: list[tuple[Any, ...]], width: int) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width
