"""Migrations that can be run while people write: what each must say, and what none may do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

MIGRATIONS = sorted((Path(__file__).resolve().parents[2] / "schema" / "migrations").glob("*.sql"))

_TIMEOUT = re.compile(r"\s*SET (LOCAL )?lock_timeout = '[1-5]s';", re.IGNORECASE)
_COMMENT = re.compile(r"--.*")
_MADE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?([\w.]+)", re.IGNORECASE)
_HOLDS_UP = {
    "an index without CONCURRENTLY": (
        r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)[^;]*? ON (?:ONLY )?([\w.]+)"
    ),
    "a column without a default": (
        r"ALTER TABLE (?:ONLY )?([\w.]+)[^;]*?ADD COLUMN \w+ (?![^,;]*DEFAULT)[^,;]*NOT NULL"
    ),
    "another type": r"ALTER TABLE (?:ONLY )?([\w.]+)[^;]*?ALTER COLUMN \w+ (?:SET DATA )?TYPE ",
    "a rewrite": r"^(?:UPDATE|CLUSTER|VACUUM FULL) ([\w.]+)",
}
"""By what is wrong, a statement that holds a table up for as long as the table is long."""
BEFORE = {
    "0005_projection_partitions",
    "0016_operators",
    "0030_claims_by_day",
    "0032_rebuilds",
}
"""Made before there was anybody to hold up. No other joins them."""


def parts(path: Path) -> tuple[str, str]:
    up, down = re.split(r"^-- migrate:down.*$", path.read_text(), flags=re.MULTILINE)
    return re.sub(r"^-- migrate:up.*\n", "", up), down


def long_locks(sql: str) -> list[str]:
    """What would hold up a table that was there before."""
    plain = _COMMENT.sub("", sql)
    made = set(_MADE.findall(plain))
    return [
        f"{table}: {what}"
        for what, pattern in _HOLDS_UP.items()
        for table in re.findall(pattern, plain, re.IGNORECASE | re.MULTILINE)
        if table not in made
    ]


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_a_migration_waits_for_no_lock_longer_than_five_seconds(path: Path) -> None:
    for part in parts(path):
        assert _TIMEOUT.match(_COMMENT.sub("", part)), "begins with SET lock_timeout, up and down"


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_a_migration_holds_no_table_up(path: Path) -> None:
    found = long_locks(parts(path)[0])
    assert found == [] or path.stem in BEFORE, found


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX i ON events (topic);",
        "ALTER TABLE events ADD COLUMN a text NOT NULL;",
        "ALTER TABLE events ALTER COLUMN a TYPE bigint;",
        "UPDATE claims SET key = key;",
    ],
)
def test_what_would_is_found(sql: str) -> None:
    assert len(long_locks(sql)) == 1
    table = "claims" if sql.startswith("UPDATE") else "events"
    assert long_locks(f"CREATE TABLE {table} (a int);\n{sql}") == []


def test_what_would_not_is_let_through() -> None:
    assert long_locks("ALTER TABLE events ADD COLUMN a text NOT NULL DEFAULT '';") == []
    assert long_locks("CREATE INDEX CONCURRENTLY i ON events (topic);") == []
