"""The export of a person: every context's source, in the order in which the file has them.

A context that keeps something about people adds its source to ``sources``, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from uuid_utils.compat import uuid7

from adapters.event_store.subject_keys import SubjectKeys
from adapters.exports import OpenedEvents, PostgresExports
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from bootstrap.wiring.databases import READ, read_dsn_of, watch_of
from bootstrap.wiring.statistics import totals_of
from bootstrap.wiring.write_side import WriteSide
from projections.journal.days import Days
from projections.reading import Reader
from workers.exports.access import Access
from workers.exports.accounts import Accounts
from workers.exports.insights import Insights
from workers.exports.journal import Journal
from workers.exports.journal_files import JournalFiles
from workers.exports.operations import OperationsAsked
from workers.exports.sources import Exported
from workers.exports.work import Exporting


def sources(side: WriteSide, reader: Reader) -> Sequence[Exported]:
    """What every context knows of a person."""
    credentials = PipelineReader([side.bulk])
    return (
        Accounts(reader, credentials, side.store, totals_of(reader), (Days.name,)),
        Access(reader, side.api_keys.last_used),
        Journal(reader, side.store),
        JournalFiles(reader, side.files.objects),
        Insights(PipelineReader([side.series.reads])),
        OperationsAsked(side.operations),
    )


def files(pipeline: Pipeline, keys: SubjectKeys) -> PostgresExports:
    """Where the files lie."""
    return PostgresExports(pipeline, keys)


@asynccontextmanager
async def exporting(side: WriteSide) -> AsyncIterator[Exporting]:
    """What the worker needs, connected as long as the context lasts; ``side`` is, too."""
    dsn = read_dsn_of(side.settings)
    reads = Pipeline(dsn, role=READ)
    watch = side.series.watching(watch_of(side.settings), None)
    try:
        await reads.open()
        await watch.open()
        yield Exporting(
            operations=side.operations,
            head=side.operations,
            exports=files(side.bulk, side.keys),
            sources=sources(side, PipelineReader([reads])),
            events=OpenedEvents(side.bulk, side.keys),
            freshness=watch,
            new_id=uuid7,
        )
    finally:
        await watch.close()
        await reads.close()
