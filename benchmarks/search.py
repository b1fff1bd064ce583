"""Searching 100,000 entries: each store against a naive query on the same events.

The words of the entries come as often as words do: few very often, most of them seldom. What is
asked is a mix of words, phrases, typos, exclusions, filters and nothing at all; each answer has its
hits, highlights and facets. The naive query reads every event and can do neither typos nor stems.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from adapters.postgres.pipeline import Pipeline
from adapters.postgres.reader import PipelineReader
from adapters.search.journal import IndexSearch
from adapters.search.store import IndexStore
from benchmarks.measure import percentile
from benchmarks.report import Row
from benchmarks.servers import Bench, Database, Unready, wait_until
from bootstrap.fetching import NotToBeHad
from bootstrap.fetching.opensearch import OpenSearch
from bootstrap.search import MAPPING
from domain.event import Recorded
from domain.journal.entry import stream_of
from domain.journal.events import EntryWritten
from projections.engine.outside import Writer
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter
from projections.journal.asked import Wanted, understand
from projections.journal.marking import Marker
from projections.journal.search import PostgresSearch, Search, Searchable
from projections.journal.vocabulary import Vocabulary

PEOPLE = 10
DAYS = 10_000
WORDS = 20_000
"""Different words, of which the n-th comes once where the first one comes n times."""
QUESTIONS = 200
NAIVE_QUESTIONS = 20
BATCH = 1_000
MOST = 100.0
"""Milliseconds that one search in twenty may take longer than."""
FIRST_DAY = datetime.date(1990, 1, 1)
MOODS = (None, "happy", "sad", "neutral")

NAIVE = """
SELECT count(*) FROM events_in_the_clear,
    LATERAL (SELECT convert_from(data, 'UTF8')::jsonb AS event) AS e
WHERE event->>'user_id' = %s
  AND (event->>'title' || ' ' || (event->>'content')) ~* ALL (%s)
"""


def run(bench: Bench) -> list[Row]:
    """Compare; a row for each store that can be had."""
    lot = random.Random(6)
    people = [uuid7() for _ in range(PEOPLE)]
    words = _words(lot)
    database = bench.migrated("search")
    bench.tell(f"writing {PEOPLE * DAYS:,} entries")
    events = list(_events(lot, people, words))
    _fill_naive(database, events)
    _fill_postgres(database, events)
    bench.settle(database)
    asked = [_question(lot, words) for _ in range(QUESTIONS)]
    naive = _ask_naive(database, people, asked[:NAIVE_QUESTIONS])
    rows = [_row("PostgreSQL", asyncio.run(_on_postgres(database, people, asked)), naive)]
    try:
        with _opensearch(bench) as url:
            found = _on_opensearch(url, events, people, asked)
            rows.append(_row("OpenSearch", found, naive))
    except NotToBeHad as reason:
        bench.skip("OpenSearch", str(reason))
    bench.drop(database)
    return rows


def _row(store: str, seconds: list[float], naive: list[float]) -> Row:
    ours, theirs = (percentile(each, 0.95) * 1e3 for each in (seconds, naive))
    return Row(
        benchmark="search",
        what=f"Search in {PEOPLE * DAYS:,} entries on {store}, p95",
        unit="ms",
        ours=ours,
        theirs=theirs,
        peer="naive SQL on events in the clear",
        ratio=ours / theirs,
        bar=f"≤ {MOST:g} ms",
        met=ours <= MOST,
        note=f"{PEOPLE} people; median {percentile(seconds, 0.5) * 1e3:.1f} ms, "
        f"worst {max(seconds) * 1e3:.1f} ms",
        runs={"ours": seconds, "theirs": naive},
    )


def _words(lot: random.Random) -> list[str]:
    parts = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "ea", "ou")]
    words: dict[str, None] = {}
    while len(words) < WORDS:
        words["".join(lot.choices(parts, k=lot.randrange(2, 5)))] = None
    return list(words)


def _events(
    lot: random.Random, people: Sequence[UUID], words: Sequence[str]
) -> Iterator[EntryWritten]:
    weights = list(itertools.accumulate(1 / n for n in range(1, WORDS + 1)))
    for day in range(DAYS):
        for user_id in people:
            content = lot.choices(words, cum_weights=weights, k=lot.randrange(40, 160))
            yield EntryWritten(
                entry_id=uuid7(),
                user_id=user_id,
                date=FIRST_DAY + datetime.timedelta(days=day),
                title=" ".join(content[:4]),
                content=" ".join(content),
                mood=lot.choice(MOODS),  # type: ignore[arg-type]  # each of them is one
                location=None,
                weather=None,
                tags=tuple(f"tag{n}" for n in lot.sample(range(40), lot.randrange(4))),
                is_private=lot.random() < 0.1,
                word_count=len(content),
            )


def _question(lot: random.Random, words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """A question as people ask: of seldom words more than of those that are everywhere."""
    one, other = (words[min(int(lot.paretovariate(0.5)) * 10, WORDS - 1)] for _ in range(2))
    at = lot.randrange(len(one))
    date = FIRST_DAY + datetime.timedelta(days=lot.randrange(DAYS))
    kinds: list[tuple[str, dict[str, Any]]] = [
        (one, {}),
        (f"{one} {other}", {}),
        (f'"{one} {other}"', {}),
        (one[:at] + one[at + 1 :], {}),
        (f"{one} -{other}", {}),
        (one, {"mood": "happy"}),
        (one, {"date_from": date, "date_to": date + datetime.timedelta(days=365)}),
        (one, {"include_private": True}),
        ("", {"tags": ("tag1",)}),
        ("", {}),
    ]
    return lot.choices(kinds, weights=[4, 3, 2, 3, 1, 1, 1, 1, 1, 1])[0]


def _recorded(events: Sequence[EntryWritten]) -> Iterator[list[Recorded]]:
    now = datetime.datetime.now(datetime.UTC)
    numbered = (
        Recorded(
            position=position,
            stream_id=stream_of(event.entry_id),
            stream_version=1,
            tenant_id=event.user_id,
            recorded_at=now,
            event=event,
        )
        for position, event in enumerate(events, 1)
    )
    while batch := list(itertools.islice(numbered, BATCH)):
        yield batch


def _fill_naive(database: Database, events: Sequence[EntryWritten]) -> None:
    with psycopg.connect(database.owner) as connection:
        connection.execute("CREATE TABLE events_in_the_clear (data bytea)")
        with connection.cursor().copy("COPY events_in_the_clear FROM STDIN") as copy:
            for event in events:
                copy.write_row((msgspec.json.encode(event),))


def _fill_postgres(database: Database, events: Sequence[EntryWritten]) -> None:
    """As a rebuild does: the index of words comes last."""
    with psycopg.connect(database.owner, autocommit=True) as owner:
        owner.execute("DROP INDEX journal_search_words")
        with psycopg.connect(database.project, autocommit=True) as connection:
            views: tuple[RowView[Any], ...] = (Searchable(), Vocabulary())
            writers = [ViewWriter(view, connection, view.table) for view in views]
            _fold(events, writers)
        owner.execute("CREATE INDEX journal_search_words ON journal_search USING gin (words)")


def _fold(events: Sequence[EntryWritten], writers: Sequence[Writer]) -> None:
    for batch in _recorded(events):
        for writer in writers:
            writer.apply(batch)


async def _on_postgres(
    database: Database, people: Sequence[UUID], asked: Sequence[tuple[str, dict[str, Any]]]
) -> list[float]:
    pipeline = Pipeline(database.read, role="mindstream_read")
    await pipeline.open()
    try:
        return await _ask(PostgresSearch(PipelineReader([pipeline])), people, asked)
    finally:
        await pipeline.close()


@contextmanager
def _opensearch(bench: Bench) -> Iterator[str]:
    log = bench.places.log / "opensearch.log"
    node = OpenSearch(bench.places.home / "opensearch", log)
    node.prepare()
    command = node.command()
    with bench.process("opensearch", command.argv, env=command.env):
        wait_until(node.answers, what="OpenSearch answers")
        yield node.url


def _on_opensearch(
    url: str,
    events: Sequence[EntryWritten],
    people: Sequence[UUID],
    asked: Sequence[tuple[str, dict[str, Any]]],
) -> list[float]:
    store = IndexStore(url, {Searchable.name: MAPPING})
    view = Searchable()
    view.kept_in(store)
    store.begin(view, view.table)
    _fold(events, [store.writer(view, view.table)])

    async def ask() -> list[float]:
        search = IndexSearch(url)
        try:
            return await _ask(search, people, asked)
        finally:
            await search.close()

    try:
        return asyncio.run(ask())
    finally:
        store.client.close()


async def _ask(
    search: Search, people: Sequence[UUID], asked: Sequence[tuple[str, dict[str, Any]]]
) -> list[float]:
    """How long each search took, in seconds, after one round to warm up."""
    taken: list[float] = []
    for counts in (False, True):
        hits = 0
        for number, (q, filters) in enumerate(asked):
            began = time.perf_counter()
            wanted = Wanted(asked=understand(q, "en"), **filters)
            user_id = people[number % len(people)]
            found = await search.find(user_id, wanted, after=None, limit=20)
            marker = Marker(wanted.asked)
            for hit in found.hits:
                marker.highlights(hit.title, hit.content)
            hits += found.total
            if counts:
                taken.append(time.perf_counter() - began)
        if not hits:
            raise Unready("no search has found anything")
    return taken


def _ask_naive(
    database: Database, people: Sequence[UUID], asked: Sequence[tuple[str, dict[str, Any]]]
) -> list[float]:
    taken: list[float] = []
    with psycopg.connect(database.owner) as connection:
        for number, (q, _) in enumerate(asked):
            patterns = [rf"\m{word}" for word in q.replace('"', "").replace("-", "").split()]
            began = time.perf_counter()
            connection.execute(NAIVE, (str(people[number % len(people)]), patterns)).fetchone()
            taken.append(time.perf_counter() - began)
    return taken
