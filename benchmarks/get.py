"""GET of one entry and of a page of 20: the product against plain CRUD, and against a bare GET.

Each request of the first kind asks for another entry or page than those of the last seconds, so
that it is read from the database; the second kind asks for the same few again, as a client does
that looks whether something has changed. Every run is checked by status and by size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec
import psycopg
from uuid_utils.compat import uuid7

from benchmarks import catchup, load, material, product
from benchmarks.measure import interleave, medians
from benchmarks.product import ENTRIES, Site, ask, expect
from benchmarks.report import Row, at_least
from benchmarks.servers import Bench, Unready, wait_until

DAYS = 5_000
"""Entries of each person."""
WATCHED = 64
SECONDS = 3.0
ROUNDS = 5
SHARE_OF_BARE = 0.40
FEW_BYTES = 1_000
"""A 304 with all its headers is smaller, any entry larger."""


def run(bench: Bench) -> list[Row]:
    """Compare; five rows."""
    with (
        product.ours(bench, bench.migrated("get_ours")) as ours,
        product.theirs(bench, bench.empty("get_crud")) as theirs,
        product.bare(bench) as bare,
    ):
        bench.tell(f"writing {DAYS * len(ours.users):,} entries for each")
        catchup.fill(bench, ours.database, list(ours.users), DAYS * len(ours.users))
        _fill_crud(theirs)
        wait_until(lambda: product.projected(ours.database), what="the entries are in the list")
        for database in (ours.database, theirs.database):
            bench.settle(database)
        sides = {
            "ours one": _side(ours, _ones(ours, "journal_entries", "entry_id")),
            "crud one": _side(theirs, _ones(theirs, "entries", "id")),
            "ours page": _side(ours, _pages(), items=20),
            "crud page": _side(theirs, _pages(), items=20),
            "ours again": _side(ours, _ones(ours, "journal_entries", "entry_id")[:WATCHED]),
            "ours page again": _side(ours, _pages()[: len(ours.users)], items=20),
            "ours 304": _side(
                ours, _ones(ours, "journal_entries", "entry_id")[:WATCHED], etag='"1"'
            ),
            "bare": lambda: (
                load.run(load.Plan(port=bare, targets=[(0, "/bare")], seconds=SECONDS)).rate
            ),
        }
        figures = interleave(sides, rounds=ROUNDS, tell=bench.tell)
    middle = medians(figures)

    def row(factor: float, what: str, side: str, other: str, peer: str, note: str = "") -> Row:
        return at_least(
            factor,
            "get",
            what,
            "/s",
            {side: figures[side], other: figures[other]},
            {"ours": middle[side], "theirs": middle[other]},
            peer,
            note=note,
            per_cent=factor < 1,
        )

    crud, nothing = "FastAPI, SQLAlchemy, asyncpg", "bare GET, Litestar on granian"
    note = f"authenticated, one worker; load: {load.maker()}"
    return [
        row(4, "GET one entry", "ours one", "crud one", crud, note),
        row(4, "GET a page of 20", "ours page", "crud page", crud),
        row(SHARE_OF_BARE, "GET one entry again, of a bare GET", "ours again", "bare", nothing),
        row(SHARE_OF_BARE, "GET one entry, 304, of a bare GET", "ours 304", "bare", nothing),
        row(
            SHARE_OF_BARE,
            "GET a page of 20 again, of a bare GET",
            "ours page again",
            "bare",
            nothing,
            note="a page is 20 entries long, the bare answer 11 bytes",
        ),
    ]


def _side(
    site: Site, targets: Sequence[tuple[int, str]], *, items: int = 0, etag: str | None = None
) -> Callable[[], float]:
    """Runs of GET over the targets, after a look at the first answer; ``items`` in a page."""
    user, path = targets[0]
    headers = {} if etag is None else {"If-None-Match": etag}
    status = 200 if etag is None else 304
    answer = ask(site.read_port, "GET", path, token=site.tokens[user], headers=headers)
    expect(answer, status)
    expect(ask(site.read_port, "GET", path), 401)
    if items and len(_items(answer.body)) != items:
        raise Unready(f"{path} has {len(_items(answer.body))} entries, not {items}")
    progress = itertools.count()
    least = len(answer.body) * 0.9

    def side() -> float:
        plan = load.Plan(
            port=site.read_port,
            tokens=site.tokens,
            targets=targets,
            # Each run begins where none of the last seconds has been.
            first=next(progress) * len(targets) // (ROUNDS + 1),
            etag=etag,
            seconds=SECONDS,
        )
        result = load.run(plan)
        size = result.bytes / result.requests
        if size < least or (etag is not None and size > FEW_BYTES):
            raise Unready(f"answers to {path} had {size:.0f} bytes on the average")
        return result.rate

    return side


def _items(body: bytes) -> list[object]:
    document = msgspec.json.decode(body)
    found: list[object] = document["items"] if "items" in document else document["data"]
    return found


def _ones(site: Site, table: str, column: str) -> list[tuple[int, str]]:
    """Every entry as a target, people taking turns."""
    numbers = {user: number for number, user in enumerate(site.users)}
    query = f"SELECT user_id, {column} FROM {table} ORDER BY date, user_id"
    with psycopg.connect(site.database.owner) as connection:
        rows = connection.execute(query).fetchall()
    return [(numbers[user], f"{ENTRIES}/{entry}") for user, entry in rows]


def _pages() -> list[tuple[int, str]]:
    """Pages up to each day but the first, which have 20 entries and more behind them."""
    return [
        (user, f"{ENTRIES}?limit=20&date_to={material.fields(day)['date']}")
        for day in range(40, DAYS)
        for user in range(product.USERS)
    ]


def _fill_crud(site: Site) -> None:
    columns = "id, user_id, date, title, content, mood, location, tags, is_private, word_count"
    words = len(material.CONTENT.split())
    pages = itertools.islice(material.pages(list(site.users)), DAYS * len(site.users))
    with psycopg.connect(site.database.owner) as connection:
        cursor = connection.cursor()
        with cursor.copy(f"COPY entries ({columns}, version) FROM STDIN") as copy:
            for user, day in pages:
                fields = material.fields(day)
                copy.write_row((uuid7(), user, *fields.values(), False, words, 1))
