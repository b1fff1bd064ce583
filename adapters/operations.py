"""The operations in the write database: for the workers, and for both APIs.

Owns the SQL on ``operations`` and ``operation_input``. Times of leases are the database's, so that
workers on several machines need not agree on theirs. Input lies sealed until the work is done.
Implements the ports ``workers.operations.Operations``, ``write_api.operations.Accepting`` and
``read_api.operations.Showing``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec

from adapters import operation_metrics
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.postgres.reader import SET_USER
from commands.ports import KeyReused
from domain.operation import ERASURE, Claimed, End, Failure, Held, NewOperation, Operation, Targeted

ACCEPT_PARAMETERS = (
    *("uuid", "text", "uuid", "uuid", "text", "timestamptz", "int8", "text", "bytea", "text"),
)
_OPERATORS = "(kind LIKE 'projection.%' OR kind LIKE 'quarantine.%')"
_REBUILDS_OF = """state IN ('pending', 'running') AND kind = 'projection.rebuild'
    AND params->>'projection' = $1"""
_SHAPE = """id, kind, state, progress, eta_seconds, detail, result::text, error::text, created_at,
    finished_at, coalesce(params->>'id', params->>'item_id', params->>'projection',
    params->>'reaction', params->>'stream_id')"""

STAGE = Statement(
    "operation_stage",
    "INSERT INTO operation_input (operation_id, chunk_no, data) VALUES ($1, $2, $3)",
    ("uuid", "int4", "bytea"),
)
DROP_INPUT = Statement(
    "operation_drop_input",
    "DELETE FROM operation_input WHERE operation_id = $1 AND NOT EXISTS ("
    "SELECT FROM operations WHERE id = $1 AND state IN ('pending', 'running'))",
    ("uuid",),
)
ACCEPT = Statement(
    "operation_accept",
    "INSERT INTO operations (id, kind, user_id, tenant_id, correlation_id, created_at,"
    " input_bytes, idempotency_key, request_hash, params)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::json)"
    " ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING",
    ACCEPT_PARAMETERS,
)
BY_KEY = Statement(
    "operation_by_key",
    f"SELECT {_SHAPE}, request_hash FROM operations WHERE user_id = $1 AND idempotency_key = $2",
    ("uuid", "text"),
)
GET_ANY = Statement(
    "operation_get_any", f"SELECT {_SHAPE} FROM operations WHERE id = $1", ("uuid",)
)
HEAD = Statement("operation_head", "SELECT coalesce(max(position), 0) FROM events", ())
GET = Statement(
    "operation_get",
    f"SELECT {_SHAPE} FROM operations WHERE id = $1 AND user_id = $2",
    ("uuid", "uuid"),
)
OF_PERSON = Statement(
    "operation_of_person",
    f"SELECT {_SHAPE} FROM operations WHERE user_id = $1"
    " AND ($2 IS NULL OR (created_at, id) > ($2, $3)) ORDER BY created_at, id LIMIT $4",
    ("uuid", "timestamptz", "uuid", "int8"),
)
RECENT = Statement(
    "operation_recent",
    "SELECT created_at FROM operations WHERE user_id = $1 AND kind = $2 AND created_at > $3"
    " ORDER BY created_at",
    ("uuid", "text", "timestamptz"),
)
# What nobody has begun is over at once; whoever has begun stops at its next step. An erasure goes
# on: there is no way back.
_CANCEL = """
    UPDATE operations SET
        cancel_requested = cancel_requested OR state IN ('pending', 'running') AND {may},
        finished_at = CASE WHEN state = 'pending' AND {may} THEN now() ELSE finished_at END,
        eta_seconds = CASE WHEN state = 'pending' AND {may} THEN NULL ELSE eta_seconds END,
        state = CASE WHEN state = 'pending' AND {may} THEN 'cancelled' ELSE state END
""".replace("{may}", f"kind <> '{ERASURE}'")
CANCEL = Statement(
    "operation_cancel",
    f"{_CANCEL} WHERE id = $1 AND user_id = $2 RETURNING {_SHAPE}",
    ("uuid", "uuid"),
)
CANCEL_OPERATORS = Statement(
    "operation_cancel_operators",
    f"{_CANCEL} WHERE id = $1 AND {_OPERATORS} RETURNING {_SHAPE}",
    ("uuid",),
)
UNCLAIMED_REBUILDS = Statement(
    "operation_unclaimed_rebuilds",
    """
    SELECT DISTINCT ON (params->>'projection') id FROM operations
    WHERE state IN ('pending', 'running') AND kind = 'projection.rebuild'
      AND (lease_until IS NULL OR lease_until < now())
      AND NOT cancel_requested AND NOT pause_requested
      AND params->>'projection' <> $1
      AND params->'options'->>'key' IS NULL AND params->'options'->>'from' IS NULL
      AND params->'options'->>'to' IS NULL
    ORDER BY params->>'projection', created_at
    """,
    ("text",),
)
CANCEL_REBUILDS = Statement(
    "operation_cancel_rebuilds",
    f"{_CANCEL} WHERE {_REBUILDS_OF} RETURNING {_SHAPE}",
    ("text",),
)
PAUSE_REBUILDS = Statement(
    "operation_pause_rebuilds",
    f"UPDATE operations SET pause_requested = $2 WHERE {_REBUILDS_OF} RETURNING id",
    ("text", "bool"),
)
OPEN_REBUILDS = Statement(
    "operation_open_rebuilds",
    f"SELECT {_SHAPE} FROM operations WHERE {_REBUILDS_OF} ORDER BY created_at",
    ("text",),
)
NOTE = Statement(
    "operation_note",
    "UPDATE operations SET params = $3::json"
    " WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    ("uuid", "text", "text"),
)
CLAIM = Statement(
    "operation_claim",
    """
    UPDATE operations o SET
        state = 'running', lease_owner = $2, lease_until = now() + $3 * interval '1 second',
        attempts = attempts + 1, started_at = coalesce(o.started_at, now()),
        offered_at = NULL, offers = 0
    FROM (SELECT id, started_at IS NOT NULL AS again FROM operations WHERE id = $1 FOR UPDATE) old
    WHERE o.id = old.id AND state IN ('pending', 'running')
      AND (lease_until IS NULL OR lease_until < now())
    RETURNING o.id, kind, user_id, tenant_id, correlation_id, input_bytes, attempts, again,
              cancel_requested, params::text
    """,
    ("uuid", "text", "float8"),
)
REPORT = Statement(
    "operation_report",
    """
    UPDATE operations SET
        lease_until = now() + $3 * interval '1 second',
        attempts = CASE WHEN $4 > progress THEN 1 ELSE attempts END,
        progress = greatest(progress, $4), eta_seconds = $5, detail = coalesce($6, detail)
    WHERE id = $1 AND lease_owner = $2 AND state = 'running'
    RETURNING cancel_requested, pause_requested
    """,
    ("uuid", "text", "float8", "float8", "int4", "text"),
)
FINISH = Statement(
    "operation_finish",
    """
    WITH ended AS (
        UPDATE operations SET
            state = $3, result = $4::json, error = $5::json, finished_at = now(),
            progress = CASE WHEN $3 = 'succeeded' THEN 1 ELSE progress END,
            eta_seconds = NULL, lease_owner = NULL, lease_until = NULL
        WHERE id = $1 AND lease_owner = $2 AND state = 'running'
        RETURNING id, kind, created_at, started_at
    ), dropped AS (
        DELETE FROM operation_input i USING ended WHERE i.operation_id = ended.id
    )
    SELECT kind, extract(epoch FROM started_at - created_at)::float8,
           extract(epoch FROM now() - started_at)::float8
    FROM ended
    """,
    ("uuid", "text", "text", "text", "text"),
)
RELEASE = Statement(
    "operation_release",
    "UPDATE operations SET lease_until = now() + $3 * interval '1 second', lease_owner = NULL,"
    " attempts = CASE WHEN $4 THEN attempts ELSE 0 END"
    " WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    ("uuid", "text", "float8", "bool"),
)
CHUNK = Statement(
    "operation_chunk",
    "SELECT data FROM operation_input WHERE operation_id = $1 AND chunk_no = $2",
    ("uuid", "int4"),
)
# Two seconds are left to whoever accepted it; offers that nobody took are repeated ever later.
STRANDED = Statement(
    "operation_stranded",
    """
    SELECT id, kind FROM operations
    WHERE state IN ('pending', 'running')
      AND coalesce(lease_until, created_at + interval '2 seconds') < now()
      AND (offered_at IS NULL
           OR offered_at + least(power(2, least(offers, 6)) * interval '3 seconds',
                                 interval '20 seconds') < now())
    ORDER BY created_at LIMIT $1
    """,
    ("int8",),
)
OFFERED = Statement(
    "operation_offered",
    "UPDATE operations SET offered_at = now(), offers = offers + 1"
    " WHERE id = $1 AND state IN ('pending', 'running')",
    ("uuid",),
)
SWEEP = Statement(
    "operation_sweep",
    """
    WITH swept AS (
        DELETE FROM operation_input i
        WHERE staged_at < now() - interval '6 hours' AND NOT EXISTS (
            SELECT FROM operations o
            WHERE o.id = i.operation_id AND o.state IN ('pending', 'running'))
        RETURNING 1
    )
    SELECT count(*) FROM swept
    """,
    (),
)

SET_OPERATOR = Statement("set_operator", "SELECT set_config('mindstream.operator', 'on', true)", ())
"""Row-level security shows operations of all kinds for the rest of the transaction."""

_encode = msgspec.json.Encoder().encode


class Sealer(Protocol):
    """Encrypts what must not lie in a table in the clear."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made."""
        ...


class PostgresOperations:
    """Operations of all kinds.

    ``pipeline`` is a connection of its own to the write database, since pieces of input are large;
    its role is ``mindstream_write``, or ``mindstream_read`` where only ``get`` is called. Without
    ``sealer`` it takes no input.
    """

    def __init__(self, pipeline: Pipeline, sealer: Sealer | None = None) -> None:
        self._pipeline = pipeline
        self._sealer = sealer

    async def stage(self, operation_id: UUID, number: int, piece: bytes) -> None:
        """Keep a piece of the input of an operation that is yet to be accepted."""
        assert self._sealer is not None, "input is sealed"
        sealed = self._sealer.seal(piece, input_context(operation_id, number))
        await self._pipeline.run((STAGE, (operation_id, number, sealed)))

    async def discard(self, operation_id: UUID) -> None:
        """Drop the input of an operation that is not to be, or is over; an open one keeps its."""
        await self._pipeline.run((DROP_INPUT, (operation_id,)))

    async def accept(self, new: NewOperation) -> Operation:
        """Accept it; with a known idempotency key the operation that was accepted under it.

        Raises:
            KeyReused: the key belongs to another request.
        """
        values = values_of(new)
        steps: list[tuple[Statement, Sequence[Any]]] = [(ACCEPT, values)]
        if new.idempotency_key is None:
            steps.append((GET, (new.id, new.user_id)))
        else:
            steps.append((BY_KEY, (new.user_id, new.idempotency_key)))
        _, [row] = await self._pipeline.run(*steps)
        if new.idempotency_key is not None and row[-1] != new.request_hash:
            raise KeyReused("the idempotency key belongs to another request")
        return operation_of(row)

    async def get(self, operation_id: UUID, user_id: UUID) -> Operation | None:
        """This person's operation, None if there is none such."""
        _, rows = await self._pipeline.run(
            (SET_USER, (str(user_id),)), (GET, (operation_id, user_id))
        )
        return operation_of(rows[0]) if rows else None

    async def get_any(self, operation_id: UUID) -> Targeted | None:
        """Anybody's operation, for operators."""
        _, rows = await self._pipeline.run((SET_OPERATOR, ()), (GET_ANY, (operation_id,)))
        return targeted_of(rows[0]) if rows else None

    async def of_person(
        self, user_id: UUID, *, after: Operation | None, limit: int
    ) -> Sequence[Operation]:
        """This person's operations, oldest first, from after that one."""
        key = (None, None) if after is None else (after.created_at, after.id)
        _, rows = await self._pipeline.run(
            (SET_USER, (str(user_id),)), (OF_PERSON, (user_id, *key, limit))
        )
        return [operation_of(row) for row in rows]

    async def recent(self, user_id: UUID, kind: str, since: datetime) -> Sequence[datetime]:
        """When this person asked for operations of that kind since then, oldest first."""
        [rows] = await self._pipeline.run((RECENT, (user_id, kind, since)))
        return [row[0] for row in rows]

    async def cancel(self, operation_id: UUID, user_id: UUID) -> Operation | None:
        """Ask for the end of this person's operation; None if there is none such."""
        [rows] = await self._pipeline.run((CANCEL, (operation_id, user_id)))
        if not rows:
            return None
        operation = operation_of(rows[0])
        if operation.state == "cancelled":
            await self.discard(operation_id)
        return operation

    async def head(self) -> int:
        """The position of the last event: whoever has passed it sees all that operations did."""
        [[(position,)]] = await self._pipeline.run((HEAD, ()))
        return int(position)

    async def claim(self, operation_id: UUID, owner: str, lease: float) -> Claimed | None:
        """Take it if it is open and nobody else has it."""
        [rows] = await self._pipeline.run((CLAIM, (operation_id, owner, lease)))
        if not rows:
            return None
        named = dict(zip(Claimed.__struct_fields__, rows[0], strict=True))
        named["params"] = {} if named["params"] is None else msgspec.json.decode(named["params"])
        return Claimed(**named)

    async def report(
        self,
        operation_id: UUID,
        owner: str,
        lease: float,
        *,
        progress: float,
        eta_seconds: int | None,
        detail: str | None,
    ) -> Held:
        """Renew the lease and say how far it is."""
        values = (operation_id, owner, lease, progress, eta_seconds, detail)
        [rows] = await self._pipeline.run((REPORT, values))
        if not rows:
            return "lost"
        cancelled, paused = rows[0]
        if cancelled:
            return "cancelled"
        return "paused" if paused else "held"

    async def finish(
        self,
        operation_id: UUID,
        owner: str,
        state: End,
        *,
        result: Any = None,
        error: Failure | None = None,
    ) -> bool:
        """End it and drop its input; whether it was still ours."""
        values = (operation_id, owner, state, _json(result), _json(error))
        [rows] = await self._pipeline.run((FINISH, values))
        for kind, waited, worked in rows:
            operation_metrics.ended(kind, state, waited, worked)
        return bool(rows)

    async def release(
        self, operation_id: UUID, owner: str, pause: float, *, failed: bool = True
    ) -> None:
        """Give it back, to be taken again after ``pause`` seconds.

        One that only waits for another has not ``failed``: it may be begun as often as it takes.
        """
        await self._pipeline.run((RELEASE, (operation_id, owner, pause, failed)))

    async def note(self, operation_id: UUID, owner: str, params: dict[str, Any]) -> None:
        """Keep other params with it, for whoever takes it next."""
        await self._pipeline.run((NOTE, (operation_id, owner, _json(params))))

    async def pause_rebuilds(self, projection: str, paused: bool) -> Sequence[UUID]:
        """Have the open rebuilds of a projection wait, or go on; their ids."""
        [rows] = await self._pipeline.run((PAUSE_REBUILDS, (projection, paused)))
        return [row[0] for row in rows]

    async def open_rebuilds(self, projection: str) -> Sequence[Operation]:
        """The rebuilds of a projection that have not ended, oldest first."""
        [rows] = await self._pipeline.run((OPEN_REBUILDS, (projection,)))
        return [operation_of(row) for row in rows]

    async def unclaimed_rebuilds(self, but: str) -> Sequence[UUID]:
        """Open rebuilds of whole projections that nobody works on, one for each but ``but``."""
        [rows] = await self._pipeline.run((UNCLAIMED_REBUILDS, (but,)))
        return [row[0] for row in rows]

    async def cancel_rebuilds(self, projection: str) -> Sequence[Operation]:
        """Ask for the end of a projection's rebuilds."""
        [rows] = await self._pipeline.run((CANCEL_REBUILDS, (projection,)))
        return [operation_of(row) for row in rows]

    async def cancel_operators(self, operation_id: UUID) -> Operation | None:
        """Ask for the end of anybody's operation on projections; None if there is none such."""
        [rows] = await self._pipeline.run((CANCEL_OPERATORS, (operation_id,)))
        return operation_of(rows[0]) if rows else None

    async def input(self, operation_id: UUID) -> AsyncIterator[bytes]:
        """The pieces of its input, in order, one in memory at a time."""
        assert self._sealer is not None, "input is sealed"
        number = 0
        while True:
            [rows] = await self._pipeline.run((CHUNK, (operation_id, number)))
            if not rows:
                return
            yield self._sealer.open(rows[0][0], input_context(operation_id, number))
            number += 1

    async def stranded(self, limit: int) -> Sequence[tuple[UUID, str]]:
        """Ids and kinds of open operations that nobody has, and that are due to be offered."""
        [rows] = await self._pipeline.run((STRANDED, (limit,)))
        return [(row[0], row[1]) for row in rows]

    async def offered(self, operation_id: UUID) -> None:
        """Note that the broker has it (again)."""
        await self._pipeline.run((OFFERED, (operation_id,)))

    async def sweep(self) -> int:
        """Drop input that no open operation has; how many pieces."""
        [[row]] = await self._pipeline.run((SWEEP, ()))
        return int(row[0])


def input_context(operation_id: UUID, number: int) -> bytes:
    """What a piece of input is sealed with, beside the key."""
    return f"operation\x00{operation_id}\x00{number}".encode()


def accept_done_sql(result: str, first: int) -> str:
    """SQL that takes in what was done in the request itself: an operation that ends as it begins.

    ``result`` is SQL of JSON; the parameters are ``ACCEPT_PARAMETERS`` from number ``first`` on.
    """
    numbers = [f"${first + index}" for index in range(len(ACCEPT_PARAMETERS))]
    return f"""
    INSERT INTO operations (id, kind, user_id, tenant_id, correlation_id, created_at, input_bytes,
        idempotency_key, request_hash, params, state, progress, result, started_at, finished_at)
    VALUES ({", ".join(numbers)}::json, 'succeeded', 1, {result}, {numbers[5]}, now())
    RETURNING {_SHAPE}
    """


def operations_sql(condition: str) -> str:
    """SQL that reads operations; ``condition`` is all that follows the table."""
    return f"SELECT {_SHAPE} FROM operations {condition}"


def values_of(new: NewOperation) -> tuple[Any, ...]:
    """The parameters of ``ACCEPT``."""
    *rest, params = msgspec.structs.astuple(new)
    return (*rest, _json(params))


def _json(value: Any) -> str | None:
    return None if value is None else _encode(value).decode()


def operation_of(row: Sequence[Any]) -> Operation:
    """The operation of a row."""
    return Operation(
        id=row[0],
        kind=row[1],
        state=row[2],
        progress=row[3],
        eta_seconds=row[4],
        detail=row[5],
        result=None if row[6] is None else msgspec.Raw(row[6].encode()),
        error=None if row[7] is None else msgspec.json.decode(row[7], type=Failure),
        created_at=row[8],
        finished_at=row[9],
    )


def targeted_of(row: Sequence[Any]) -> Targeted:
    """The operation in such a row, with what it is about."""
    return Targeted(**msgspec.structs.asdict(operation_of(row)), target=row[10])
