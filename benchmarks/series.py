"""Series over 100,000 entries of one person: the product over HTTP, and SQL on the event table.

The SQL is what somebody writes who has no read model: it takes each entry's last word on date, mood
and words out of its events and groups by month. It runs in the database itself, without HTTP, and
knows only what is not sealed: by tag it could tell nothing apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import psycopg

from benchmarks import catchup, product
from benchmarks.measure import interleave, medians, percentile
from benchmarks.product import Site, ask, expect
from benchmarks.report import Row, at_most, no_slower
from benchmarks.servers import Bench, Unready, wait_until

ENTRIES = 100_000
BAR = 100.0
"""Milliseconds that 95 of 100 answers take at most."""
ASKED = 40
ROUNDS = 5

# What comes before the first zero byte of an event's data is its JSON; the rest is sealed.
NAIVE = """
WITH told AS (
    SELECT stream_id, position, topic, convert_from(
        CASE WHEN position('\\x00'::bytea IN data) > 0
             THEN substring(data FROM 1 FOR position('\\x00'::bytea IN data) - 1)
             ELSE data END, 'UTF8')::jsonb AS fields
    FROM events
    WHERE topic = ANY (ARRAY['journal.EntryWritten.v1', 'journal.EntryRevised.v1',
                             'journal.EntryDeleted.v1', 'journal.EntryRestored.v1'])
), entries AS (
    SELECT stream_id,
           (array_agg(topic ORDER BY position DESC))[1] AS last,
           (array_agg(fields ->> 'date' ORDER BY position DESC)
               FILTER (WHERE fields ? 'date'))[1]::date AS date,
           (array_agg(fields ->> 'mood' ORDER BY position DESC)
               FILTER (WHERE fields ? 'mood'))[1] AS mood
    FROM told WHERE fields ->> 'user_id' = %s
    GROUP BY stream_id
)
SELECT date_trunc('month', date), mood, count(*)
FROM entries
WHERE last <> 'journal.EntryDeleted.v1' AND date >= '0001-01-01' AND date < '0275-01-01'
GROUP BY 1, 2
"""

_YEARS = "from=0001-01-01&to=0275-01-01&tz=Europe/Berlin"
SERIES = {
    "moods by month over 274 years": f"/v1/analytics/mood?{_YEARS}&bucket=month",
    "words by year over 274 years": f"/v1/analytics/words?{_YEARS}&bucket=year",
    "entries by tag and year": f"/v1/analytics/entries?{_YEARS}&bucket=year&group_by=tag",
    "moods by day, one year": (
        "/v1/analytics/mood?from=0100-01-01&to=0101-01-01&tz=Europe/Berlin&bucket=day"
    ),
    "activity by hour, a week": "/v1/analytics/activity?bucket=hour&tz=Europe/Berlin",
}


def run(bench: Bench) -> list[Row]:
    """Compare; a row for each series, and one side by side."""
    with product.ours(bench, bench.migrated("series")) as site:
        bench.tell(f"writing {ENTRIES:,} entries")
        catchup.fill(bench, site.database, [site.users[0]], ENTRIES)
        wait_until(
            lambda: product.projected(site.database), what="the entries are counted", seconds=300
        )
        bench.settle(site.database)
        rows = [_timed(bench, site, what, path) for what, path in SERIES.items()]
        return [*rows, _side_by_side(bench, site)]


def _timed(bench: Bench, site: Site, what: str, path: str) -> Row:
    once = _asking(site, path)
    once()
    taken = [once() for _ in range(ASKED)]
    value = percentile(taken, 0.95)
    bench.tell(f"{what}: {value:.1f} ms")
    return at_most(BAR, "series", f"p95 of {what}", "ms", value, runs=taken)


def _side_by_side(bench: Bench, site: Site) -> Row:
    ours = _asking(site, SERIES["moods by month over 274 years"])
    with psycopg.connect(site.database.owner, autocommit=True) as connection:

        def naive() -> float:
            began = time.perf_counter()
            found = connection.execute(NAIVE, (str(site.users[0]),)).fetchall()
            taken = (time.perf_counter() - began) * 1e3
            if sum(row[2] for row in found) != ENTRIES:
                raise Unready(f"the query found {sum(row[2] for row in found)} entries")
            return taken

        figures = interleave({"ours": ours, "theirs": naive}, rounds=ROUNDS, tell=bench.tell)
    return no_slower(
        0.5,
        "series",
        f"Moods by month of {ENTRIES // 1000}k entries",
        "ms",
        figures,
        medians(figures),
        "SQL on the events, no HTTP",
    )


def _asking(site: Site, path: str) -> Callable[[], float]:
    """Milliseconds that the answer takes; the first one is looked into."""
    answer = expect(ask(site.read_port, "GET", path, token=site.tokens[0]), 200)
    if not msgspec.json.decode(answer.body)["data"]["series"][0]["points"]:
        raise Unready(f"{path} has no points")

    def once() -> float:
        began = time.perf_counter()
        expect(ask(site.read_port, "GET", path, token=site.tokens[0]), 200)
        return (time.perf_counter() - began) * 1e3

    return once
