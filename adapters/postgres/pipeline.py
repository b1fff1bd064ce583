"""One connection that many tasks share: statements are sent as they come, without waiting.

psycopg's own asynchronous execution costs a task some 50 µs a statement, most of it in waiting;
here the statements of all tasks travel in libpq's pipeline mode and cost some 5 µs each
(``docs/decisions/0004-pipelined-reads.md`` has the figures). A unit of work is one or more prepared
statements followed by a sync: an implicit transaction of its own.

Owns one connection, its prepared statements and its recovery after a loss. It does not retry: what
was under way when the connection broke fails, and the caller knows whether it may be repeated.
A slow statement holds up those behind it, so long queries belong on an ordinary pool.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from psycopg import abc, adapt, pq
from psycopg.rows import tuple_row

from adapters.ending import end
from adapters.postgres.encode import encoders_of, oid_of

log = structlog.get_logger()

GLANCE = 0.1
"""Seconds between two looks at the socket that nobody asked for."""

_OK = pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK
_SYNC = pq.ExecStatus.PIPELINE_SYNC
_ABORTED = pq.ExecStatus.PIPELINE_ABORTED
_LAST = (b"FATAL", b"PANIC")
"""Errors after which the server says nothing more."""


class Statement:
    """A statement that each connection prepares once; ``parameters`` are names of types."""

    __slots__ = ("encoders", "formats", "name", "oids", "sql")

    def __init__(self, name: str, sql: str, parameters: Sequence[str]) -> None:
        self.name = name.encode()
        self.sql = sql.encode()
        self.oids = [oid_of(parameter) for parameter in parameters]
        self.encoders = encoders_of(parameters)
        self.formats = [1] * len(parameters)

    def encode(self, values: Sequence[Any]) -> list[bytes | None]:
        """The values in binary, in the order of the parameters."""
        return [encode(value) for encode, value in zip(self.encoders, values, strict=True)]


class PipelineLost(psycopg.OperationalError):
    """The connection broke, or was not there; the statement may or may not have run."""


class _Unit:
    __slots__ = ("error", "future", "prepared", "results", "since")

    def __init__(self, future: asyncio.Future[list[Any]], since: float) -> None:
        self.future = future
        self.results: list[pq.abc.PGresult] = []
        self.error: pq.abc.PGresult | None = None
        self.prepared: dict[bytes, int] = {}
        """What it prepares, and at which of its results that is told."""
        self.since = since


class Pipeline:
    """A shared connection in pipeline mode.

    ``patience`` is how many seconds a unit may be under way before the connection is given up as
    hung. Use from one event loop only.
    """

    def __init__(self, dsn: str, *, role: str, patience: float = 8.0) -> None:
        self._dsn = dsn
        self._role = role
        self._patience = patience
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._pgconn: pq.abc.PGconn | None = None
        self._transformer: abc.Transformer | None = None
        self._prepared: set[bytes] = set()
        self._units: deque[_Unit] = deque()
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._closing = False
        self._keeper: asyncio.Task[None] | None = None
        self._writing = False
        self._socket = -1
        """The connection's file descriptor, which libpq forgets as soon as it is lost."""

    async def open(self, *, within: float = 10.0) -> None:
        """Connect and keep connected until ``close``.

        Raises:
            PipelineLost: there is no connection after ``within`` seconds. It goes on trying.
        """
        self._keeper = asyncio.create_task(self._keep())
        await self._await_up(within)

    async def close(self) -> None:
        """Give up the connection; what is under way fails."""
        self._closing = True
        if self._keeper is not None:
            await end(self._keeper)
        self._lose("closed")

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._pgconn is not None

    async def run(
        self, *steps: tuple[Statement, Sequence[Any]], within: float = 2.0
    ) -> list[list[tuple[Any, ...]]]:
        """Run the statements in one transaction; the rows of each, as Python values.

        Waits up to ``within`` seconds for a connection where there is none.

        Raises:
            psycopg.Error: as the server refused; later statements did not run.
            PipelineLost: no connection, or it broke under way.
        """
        if self._pgconn is None:
            await self._await_up(within)
        pgconn = self._pgconn
        assert pgconn is not None
        loop = asyncio.get_running_loop()
        encoded = [(statement, statement.encode(values)) for statement, values in steps]
        unit = _Unit(loop.create_future(), loop.time())
        try:
            for statement, values in encoded:
                if statement.name not in self._prepared:
                    pgconn.send_prepare(statement.name, statement.sql, statement.oids)
                    self._prepared.add(statement.name)
                    before = [each for each, _ in encoded].index(statement)
                    unit.prepared[statement.name] = before + len(unit.prepared)
                pgconn.send_query_prepared(statement.name, values, statement.formats, 1)
            pgconn.pipeline_sync()
            self._units.append(unit)
            self._flush(pgconn)
        except psycopg.OperationalError as error:
            self._lose(str(error))
            raise PipelineLost(str(error)) from error
        return await unit.future

    async def _await_up(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self._up.wait()
        except TimeoutError:
            raise PipelineLost("no connection to PostgreSQL") from None

    def _flush(self, pgconn: pq.abc.PGconn) -> None:
        if pgconn.flush() == 0:
            if self._writing:
                asyncio.get_running_loop().remove_writer(self._socket)
                self._writing = False
        elif not self._writing:
            asyncio.get_running_loop().add_writer(self._socket, self._on_writable)
            self._writing = True

    def _on_writable(self) -> None:
        if self._pgconn is not None:
            try:
                self._flush(self._pgconn)
            except psycopg.OperationalError as error:
                self._lose(str(error))

    def _on_readable(self) -> None:
        pgconn = self._pgconn
        if pgconn is None:
            return
        try:
            pgconn.consume_input()
            units = self._units
            while units and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    continue  # the end of one statement
                status = result.status
                if status == _SYNC:
                    self._settle(units.popleft())
                elif status in _OK:
                    units[0].results.append(result)
                elif status != _ABORTED and units[0].error is None:
                    units[0].error = result
                    if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST:
                        # The end of the stream may never be reported: libuv stops to look at a
                        # socket that its peer reset.
                        self._lose("PostgreSQL ended the connection")
                        return
            if pgconn.status != pq.ConnStatus.OK:
                self._lose("connection lost")
        except psycopg.OperationalError as error:
            self._lose(str(error))

    def _settle(self, unit: _Unit) -> None:
        if unit.error is not None:
            # What was prepared before the error stays so: it is no part of the transaction.
            told = len(unit.results)
            lost = {name for name, at in unit.prepared.items() if at >= told}
            self._prepared.difference_update(lost)
            error = psycopg.errors.error_from_result(unit.error)
            if not unit.future.done():
                unit.future.set_exception(error)
            if isinstance(error, psycopg.errors.FeatureNotSupported):
                # "cached plan must not change result type": a table was replaced by one of another
                # shape; only a new connection forgets the old plans.
                self._lose("a table has changed its shape")
            return
        if unit.future.done():
            return
        rows: list[list[tuple[Any, ...]]] = []
        transformer = self._transformer
        assert transformer is not None
        try:
            for result in unit.results:
                if result.status == pq.ExecStatus.TUPLES_OK:
                    transformer.set_pgresult(result, set_loaders=True, format=pq.Format.BINARY)
                    rows.append(transformer.load_rows(0, result.ntuples, tuple))
                elif result.command_status:  # empty for a preparation
                    rows.append([])
        except Exception as error:  # noqa: BLE001 - a value that Python cannot hold: this caller's, nobody else's
            unit.future.set_exception(error)
            return
        unit.future.set_result(rows)

    def _lose(self, reason: str) -> None:
        self._up.clear()
        self._down.set()
        connection, self._connection = self._connection, None
        pgconn, self._pgconn = self._pgconn, None
        if pgconn is not None:
            loop = asyncio.get_running_loop()
            # The next connection may get the same number: a loop that still had it would not
            # listen to the new one.
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._writing = False
            pgconn.finish()
        del connection
        units, self._units = self._units, deque()
        for unit in units:
            if not unit.future.done():
                unit.future.set_exception(PipelineLost(reason))

    async def _keep(self) -> None:
        delay = 0.05
        while not self._closing:
            if self._pgconn is None:
                try:
                    await self._connect()
                    delay = 0.05
                except (psycopg.Error, OSError) as error:
                    log.warning(
                        "postgres_unreachable", role=self._role, reason=type(error).__name__
                    )
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 1.0)
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GLANCE):
                    await self._down.wait()
            # uvloop stops polling a socket that has an error (a backend that ended with our bytes
            # unread) without calling anybody; whoever looks finds the error.
            self._on_readable()
            units = self._units
            if units and asyncio.get_running_loop().time() - units[0].since > self._patience:
                self._lose("PostgreSQL does not answer")

    async def _connect(self) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            row_factory=tuple_row,
            connect_timeout=5,
            # Prepared plans outlive the size of the tables that they were made for: no plan of
            # ours needs to scan a table.
            options=f"-c role={self._role} -c statement_timeout=7s -c timezone=UTC"
            " -c enable_seqscan=off",
            application_name=f"{self._role}-pipeline",
        )
        pgconn = connection.pgconn
        pgconn.nonblocking = 1
        pgconn.enter_pipeline_mode()
        self._prepared = set()
        self._transformer = adapt.Transformer(connection)
        self._connection = connection
        self._pgconn = pgconn
        self._socket = pgconn.socket
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)
        self._down.clear()
        self._up.set()
