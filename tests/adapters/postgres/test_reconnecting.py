"""Shared connections that are lost again and again serve the next statement all the same."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import uvloop

from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from tests.support.servers import Database

PID = Statement("backend_pid", "SELECT pg_backend_pid()", ())
WORD = Statement("word", "SELECT 'word'::text", ())


async def _pid(pipeline: Pipeline) -> int:
    """The pid of its backend, as soon as it has one."""
    while True:
        try:
            [[(pid,)]] = await pipeline.run((PID, ()))
        except (PipelineLost, psycopg.errors.AdminShutdown):
            continue
        return int(pid)


async def _lose_them_again_and_again(database: Database) -> None:
    pipelines = [Pipeline(database.write_dsn, role="mindstream_write") for _ in range(3)]
    for pipeline in pipelines:
        await pipeline.open()
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        for _ in range(60):
            pids = {await _pid(pipeline) for pipeline in pipelines}
            for pid in pids:
                owner.execute("SELECT pg_terminate_backend(%s)", [pid])
            # The free numbers of their sockets are the next connections': the loop must listen to
            # those, whoever had the number before.
            async with asyncio.timeout(5):
                await asyncio.gather(*map(_pid, pipelines))
    for pipeline in pipelines:
        await pipeline.close()


def test_lost_connections_are_replaced_at_once(database: Database) -> None:
    # On the product's loop: asyncio's own forgives what this one does not.
    uvloop.run(_lose_them_again_and_again(database))


def test_a_statement_that_fails_at_first_can_be_run_again(database: Database) -> None:
    ratio = Statement("ratio", "SELECT 6 / $1::int4", ("int4",))

    async def work() -> None:
        pipeline = Pipeline(database.write_dsn, role="mindstream_write")
        await pipeline.open()
        try:
            for _ in range(2):
                with pytest.raises(psycopg.errors.DivisionByZero):
                    await pipeline.run((PID, ()), (ratio, (0,)), (WORD, ()))
            [_, rows, words] = await pipeline.run((PID, ()), (ratio, (2,)), (WORD, ()))
            assert (rows, words) == ([(3,)], [("word",)])
        finally:
            await pipeline.close()

    asyncio.run(work())
