"""POST of a journal entry over HTTP: the product against plain CRUD, and against a bare GET.

Each request creates an entry on a day of its own and is one durable commit. Every run is checked:
all answers have a good status, and the rows are there afterwards.
"""

from __future__ import annotations

import time

from benchmarks import load, material, product
from benchmarks.measure import interleave, medians
from benchmarks.product import ENTRIES, USERS, Site, ask, expect
from benchmarks.report import Row, at_least
from benchmarks.servers import Bench, Unready, wait_until

SECONDS = 4.0
ROUNDS = 5
SHARE_OF_BARE = 0.12


class Posting:
    """Runs of POST on one site, each going on where the last one stopped."""

    def __init__(self, site: Site, table: str) -> None:
        self.site = site
        self.table = table
        self.results: list[load.Result] = []
        self.behind: list[float] = []
        """Seconds that the read models needed after each run, ours only."""
        self._next = USERS  # day 0 is for the probe

    def probe(self) -> None:
        """One request whose answer is looked at, and a second that must be refused."""
        token, body = self.site.tokens[0], material.fields(0)
        answer = expect(ask(self.site.write_port, "POST", ENTRIES, body, token=token), 201)
        if "location" not in answer.headers:
            raise Unready("a created entry has no Location")
        expect(ask(self.site.write_port, "POST", ENTRIES, body, token=token), 409)
        expect(ask(self.site.write_port, "POST", ENTRIES, body), 401)

    def run(self, seconds: float = SECONDS) -> float:
        """Entries created a second."""
        before = product.count(self.site.database, self.table)
        plan = load.Plan(
            port=self.site.write_port,
            tokens=self.site.tokens,
            targets=[(0, ENTRIES)],
            template=product.template(),
            first=self._next,
            seconds=seconds,
        )
        result = load.run(plan)
        # What was under way when the run ended was created as well, and is not counted.
        most = result.requests + 2 * load.CONNECTIONS
        self._next += most + USERS

        def created() -> bool:
            rows = product.count(self.site.database, self.table) - before
            return result.requests <= rows <= most

        wait_until(created, what=f"{result.requests} new rows are in {self.table}", seconds=5)
        self.results.append(result)
        return result.rate

    def run_and_settle(self, seconds: float = SECONDS) -> float:
        """The same, and wait for the read models: nobody's turn pays for another's work."""
        rate = self.run(seconds)
        ended = time.monotonic()
        database = self.site.database
        wait_until(lambda: product.projected(database), what="all is projected", seconds=60)
        self.behind.append(time.monotonic() - ended)
        return rate


def run(bench: Bench) -> list[Row]:
    """Compare; two rows."""
    with (
        product.ours(bench, bench.migrated("post_ours")) as ours,
        product.theirs(bench, bench.empty("post_crud")) as theirs,
        product.bare(bench) as bare,
    ):
        our, their = Posting(ours, "claims"), Posting(theirs, "entries")
        for posting in (our, their):
            posting.probe()
            posting.run(1)

        def bare_get() -> float:
            return load.run(load.Plan(port=bare, targets=[(0, "/bare")], seconds=SECONDS)).rate

        bare_get()
        turns = {"ours": our.run_and_settle, "crud": their.run, "bare": bare_get}
        figures = interleave(turns, rounds=ROUNDS, tell=bench.tell)
        entries = "journal_entries"
        listed, written = (product.count(ours.database, name) for name in (entries, "events"))
        bench.tell(f"{written:,} events, {listed:,} entries in the list")
    middle = medians(figures)
    slowest = max(result.p99_ms for result in our.results)
    what = "POST a journal entry, one worker"
    return [
        at_least(
            5,
            "post",
            what,
            "/s",
            figures,
            {"ours": middle["ours"], "theirs": middle["crud"]},
            "FastAPI, SQLAlchemy, asyncpg",
            note=f"p99 ≤ {slowest:.0f} ms with {load.CONNECTIONS} connections; the projector works "
            f"at the same time, and {max(our.behind):.1f} s more at most; load: {load.maker()}",
        ),
        at_least(
            SHARE_OF_BARE,
            "post",
            f"{what}, of a bare GET on the same server",
            "/s",
            figures,
            {"ours": middle["ours"], "theirs": middle["bare"]},
            "bare GET, Litestar on granian",
            per_cent=True,
        ),
    ]
