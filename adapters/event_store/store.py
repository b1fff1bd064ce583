"""The event store that command handlers use: ``commands.ports.EventStore`` on PostgreSQL.

Owns loading (with snapshots), the encoding of a commit, and the sealing of answers that are kept
for retries. The transaction itself is ``group_commit``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
import psycopg
import structlog
from uuid_utils.compat import uuid7

from adapters.event_store.group_commit import GroupCommit, Pending, StoredReplay
from adapters.event_store.mapper import (
    KeysMissing,
    Origin,
    open_snapshot,
    origin_of,
    recorded,
    seal,
    seal_snapshot,
    subject_in,
    subjects_in,
)
from adapters.event_store.personal import subject_of
from adapters.event_store.subject_keys import SubjectKeys
from adapters.postgres.pipeline import Pipeline, Statement
from commands.ports import (
    A,
    Aggregate,
    Append,
    Claim,
    Committed,
    Context,
    Idempotency,
    KeyReused,
    Replayed,
    Response,
)
from domain.event import Metadata, Recorded

log = structlog.get_logger()

SNAPSHOT_AFTER = 100
"""Events folded beyond the last snapshot before a new one is taken."""

_COLUMNS = "position, stream_id, stream_version, tenant_id, recorded_at, topic, data"
_METADATA = ("event_id", "correlation_id", "causation_id", "actor", "trace_id")
STREAM = Statement(
    "stream",
    f"SELECT {_COLUMNS} FROM events WHERE stream_id = $1 AND stream_version > coalesce(("
    "SELECT max(stream_version) FROM snapshots WHERE stream_id = $1 AND topic = $2), 0)"
    " ORDER BY stream_version",
    ("text", "text"),
)
SNAPSHOT = Statement(
    "snapshot",
    "SELECT data, stream_version FROM snapshots WHERE stream_id = $1 AND topic = $2"
    " ORDER BY stream_version DESC LIMIT 1",
    ("text", "text"),
)
SAVE_SNAPSHOT = Statement(
    "save_snapshot",
    "INSERT INTO snapshots (stream_id, stream_version, topic, data) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT DO NOTHING",
    ("text", "int4", "text", "bytea"),
)
TRIM_SNAPSHOTS = Statement(
    "trim_snapshots",
    "DELETE FROM snapshots WHERE stream_id = $1 AND stream_version < $2",
    ("text", "int4"),
)
DROP_SNAPSHOT = Statement(
    "drop_snapshot",
    "DELETE FROM snapshots WHERE stream_id = $1 AND stream_version = $2",
    ("text", "int4"),
)
STREAMS = Statement(
    "streams",
    f"SELECT {_COLUMNS} FROM events WHERE stream_id = ANY ($1) ORDER BY stream_id, stream_version",
    ("text[]",),
)
HISTORY = Statement(
    "history",
    f"SELECT {_COLUMNS}, {', '.join(_METADATA)} FROM events"
    " WHERE stream_id = $1 AND stream_version > $2 ORDER BY stream_version",
    ("text", "int4"),
)
HISTORIES = Statement(
    "histories",
    f"SELECT {_COLUMNS}, {', '.join(_METADATA)} FROM events"
    " WHERE stream_id = ANY ($1) ORDER BY stream_id, stream_version",
    ("text[]",),
)
HOLDERS = Statement(
    "holders",
    "SELECT key, holder FROM claims WHERE kind = $1 AND key = ANY ($2)",
    ("text", "text[]"),
)
ANSWER = Statement(
    "answer",
    "SELECT request_hash, response, position FROM idempotency WHERE principal = $1 AND key = $2",
    ("text", "text"),
)
COUNT_CLAIMS = Statement("count_claims", "SELECT count(*) FROM claims WHERE kind = $1", ("text",))
FORGET_ANSWERS = Statement(
    "forget_answers",
    "WITH gone AS (DELETE FROM idempotency WHERE recorded_at < $1 RETURNING 1)"
    " SELECT count(*) FROM gone",
    ("timestamptz",),
)

_pack = msgspec.msgpack.Encoder().encode
_unpack_response = msgspec.msgpack.Decoder(Response).decode


class Sealer(Protocol):
    """Encrypts what must not lie in a table in the clear."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made."""
        ...


class PostgresEventStore:
    """One total order of events in PostgreSQL.

    ``reads`` and ``writes`` are two connections, so that loading never waits behind an append.
    ``appended`` is told the new head after each group. ``keys`` are this process's data keys, by
    default some of the store's own.
    """

    def __init__(
        self,
        reads: Pipeline,
        writes: Pipeline,
        sealer: Sealer,
        appended: Callable[[int], None],
        keys: SubjectKeys | None = None,
    ) -> None:
        self._reads = reads
        self._group = GroupCommit(writes, appended)
        self._sealer = sealer
        self._keys = SubjectKeys(sealer) if keys is None else keys
        self._snapshotting: set[asyncio.Task[None]] = set()

    async def load(self, aggregate: type[A], stream_id: str) -> A | None:
        """Fold the stream, from its snapshot where there is one of the current form."""
        form = f"{aggregate.CATEGORY}/{aggregate.SNAPSHOT}"
        while True:
            snapshots, rows = await self._reads.run(
                (SNAPSHOT, (stream_id, form)), (STREAM, (stream_id, form))
            )
            state: A | None = None
            if snapshots:
                opened = await self._opened_snapshot(stream_id, *snapshots[0])
                if opened is None:
                    continue
                state = msgspec.json.decode(opened, type=aggregate)
            if rows and rows[0][2] != (state.version if state is not None else 0) + 1:
                continue  # a snapshot was taken between the two statements
            state = _fold(aggregate, state, await self._recorded(rows))
            if state is not None and len(rows) > SNAPSHOT_AFTER:
                sealed = subjects_in([*(row[0] for row in snapshots), *(row[6] for row in rows)])
                task = asyncio.create_task(self._snapshot(stream_id, form, state, sealed))
                self._snapshotting.add(task)
                task.add_done_callback(self._snapshotting.discard)
            return state

    async def load_many(self, aggregate: type[A], stream_ids: Iterable[str]) -> dict[str, A]:
        """Fold several streams in one round trip."""
        [rows] = await self._reads.run((STREAMS, (list(stream_ids),)))
        by_stream: dict[str, list[Recorded]] = {}
        for each in await self._recorded(rows):
            by_stream.setdefault(each.stream_id, []).append(each)
        folded = {stream: _fold(aggregate, None, each) for stream, each in by_stream.items()}
        return {stream: state for stream, state in folded.items() if state is not None}

    async def read(self, stream_id: str, *, after: int = 0) -> Sequence[Recorded]:
        """The stream's events with their metadata."""
        [rows] = await self._reads.run((HISTORY, (stream_id, after)))
        return await self._recorded_with_metadata(rows)

    async def read_many(self, stream_ids: Sequence[str]) -> Sequence[Recorded]:
        """The events of several streams with their metadata, by stream and version."""
        [rows] = await self._reads.run((HISTORIES, (list(stream_ids),)))
        return await self._recorded_with_metadata(rows)

    async def holders(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """Who holds which of these claims."""
        [rows] = await self._reads.run((HOLDERS, (kind, list(keys))))
        return {row[0]: row[1] for row in rows}

    async def count_claims(self, kind: str) -> int:
        """How many claims of this kind are held."""
        [[(count,)]] = await self._reads.run((COUNT_CLAIMS, (kind,)))
        return int(count)

    async def append(
        self,
        context: Context,
        *appends: Append,
        claims: Sequence[Claim] = (),
        result: Any = None,
    ) -> Committed:
        """Append all or nothing; durable when it returns. Errors as the port says."""
        origin = origin_of(context.user_id, context.address, context.agent)
        try:
            events = self._sealed(appends, origin)
        except KeysMissing:
            subjects = {subject_of(event) for one in appends for event in one.events}
            wanted = {each.bytes for each in subjects if each}
            if origin is not None:
                wanted.add(origin.subject)
            await self._keys.ensure(self._reads, wanted)
            events = self._sealed(appends, origin)
        idempotency = context.idempotency
        response = idempotency.render(result) if idempotency is not None else None
        return await self._commit(
            context,
            events,
            [(one.stream_id, one.expected_version) for one in appends if one.events],
            claims,
            idempotency,
            response,
        )

    def _sealed(
        self, appends: Iterable[Append], origin: Origin | None
    ) -> list[tuple[str, int, str, UUID, bytes]]:
        """The events of a commit as they are stored."""
        ciphers = self._keys.ciphers
        events: list[tuple[str, int, str, UUID, bytes]] = []
        for one in appends:
            stream, version = one.stream_id, one.expected_version
            for event in one.events:
                version += 1
                data = seal(event, stream, version, ciphers, origin)
                events.append((stream, version, event.TOPIC, uuid7(), data))
        return events

    async def _recorded(self, rows: Sequence[tuple[Any, ...]]) -> list[Recorded]:
        """The records of rows of ``_COLUMNS``, opened."""
        ciphers = self._keys.ciphers
        while True:
            try:
                return [recorded(ciphers, *row) for row in rows]
            except KeysMissing:
                await self._keys.load(self._reads, subjects_in(row[6] for row in rows))

    async def _recorded_with_metadata(self, rows: Sequence[tuple[Any, ...]]) -> list[Recorded]:
        """The same of rows that have ``_METADATA`` as well."""
        found = await self._recorded([row[:7] for row in rows])
        return [
            msgspec.structs.replace(
                each, metadata=Metadata(**dict(zip(_METADATA, row[7:], strict=True)))
            )
            for each, row in zip(found, rows, strict=True)
        ]

    async def answered(self, principal: str, key: str, request_hash: bytes) -> None:
        """Return if the key is new, raise its answer otherwise."""
        [rows] = await self._reads.run((ANSWER, (principal, key)))
        if rows:
            raise self._replay(principal, key, request_hash, *rows[0])

    async def remember(
        self, context: Context, idempotency: Idempotency, response: Response
    ) -> None:
        """Keep an answer that came without events."""
        await self._commit(context, (), (), (), idempotency, response)

    async def forget_answers(self, before: datetime) -> int:
        """Drop answers that were recorded earlier; how many."""
        [[(count,)]] = await self._reads.run((FORGET_ANSWERS, (before,)))
        return int(count)

    async def drain(self) -> None:
        """Wait for what is under way."""
        await self._group.drain()
        if self._snapshotting:
            await asyncio.wait(self._snapshotting)

    async def _commit(
        self,
        context: Context,
        events: Sequence[tuple[str, int, str, UUID, bytes]],
        appends: Sequence[tuple[str, int]],
        claims: Sequence[Claim],
        idempotency: Idempotency | None,
        response: Response | None,
    ) -> Committed:
        if idempotency is None or response is None:
            principal = key = None
            request_hash = sealed = b""
        else:
            principal, key = idempotency.principal, idempotency.key
            request_hash = idempotency.request_hash
            sealed = self._sealer.seal(_pack(response), answer_context(principal, key))
        pending = Pending(
            tenant_id=context.tenant_id,
            actor=context.actor,
            correlation_id=context.correlation_id,
            causation_id=context.causation_id,
            trace_id=context.trace_id,
            recorded_at=context.now,
            events=events,
            appends=appends,
            claims=claims,
            principal=principal,
            key=key,
            request_hash=request_hash,
            response=sealed,
        )
        try:
            return Committed(await self._group.submit(pending))
        except StoredReplay as stored:
            assert principal is not None
            assert key is not None
            raise self._replay(
                principal, key, request_hash, stored.request_hash, stored.response, stored.position
            ) from None

    def _replay(
        self, principal: str, key: str, asked: bytes, stored: bytes, sealed: bytes, position: int
    ) -> Exception:
        if asked != stored:
            return KeyReused("the idempotency key belongs to another request")
        plain = self._sealer.open(sealed, answer_context(principal, key))
        return Replayed(_unpack_response(plain), position)

    async def _snapshot(
        self, stream_id: str, form: str, state: Aggregate, subjects: set[bytes]
    ) -> None:
        """Keep a state, sealed as the events were that it was folded from."""
        data = msgspec.json.encode(state)
        if subjects:
            if len(subjects) > 1:
                return  # nobody's key alone may open it
            [subject] = subjects
            cipher = self._keys.ciphers.get(subject)
            if cipher is None:
                return  # erased, or not met for so long that there is no hurry
            data = seal_snapshot(cipher, subject, data, stream_id, state.version)
        try:
            await self._reads.run(
                (SAVE_SNAPSHOT, (stream_id, state.version, form, data)),
                (TRIM_SNAPSHOTS, (stream_id, state.version)),
            )
        except psycopg.Error as error:  # the next load tries again
            log.warning("snapshot_failed", stream_id=stream_id, reason=type(error).__name__)

    async def _opened_snapshot(self, stream_id: str, data: bytes, version: int) -> bytes | None:
        """The state's JSON; None where its person was erased, and then the snapshot is dropped."""
        subject = subject_in(data)
        if subject is None:
            return data
        if subject not in self._keys.ciphers:
            await self._keys.load(self._reads, [subject])
        cipher = self._keys.ciphers.get(subject)
        if cipher is None:
            await self._reads.run((DROP_SNAPSHOT, (stream_id, version)))
            return None
        return open_snapshot(cipher, data, stream_id, version)


def answer_context(principal: str, key: str) -> bytes:
    """What an answer kept for retries is sealed with, beside the key."""
    return f"idempotency\x00{principal}\x00{key}".encode()


def _fold(aggregate: type[A], state: A | None, events: Iterable[Recorded]) -> A | None:
    for each in events:
        state = aggregate.evolve(state, each)
    return state
