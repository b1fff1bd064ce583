"""The form of a database's time series: found out when it is migrated, and kept since.

Owns the choice among ``schema/timeseries/``: *community* (TimescaleDB with continuous
aggregates), *apache* (TimescaleDB under that licence) or *none* (native partitions). What the forms
do is SQL and stands there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import psycopg

Form = Literal["community", "apache", "none"]

FILES = Path(__file__).resolve().parent.parent / "schema" / "timeseries"
ROLE = "mindstream_project"
_SQL: dict[Form, tuple[str, ...]] = {
    "none": ("partitions.sql", "views.sql"),
    "apache": ("hypertables.sql", "apache.sql", "views.sql"),
    "community": ("hypertables.sql", "community.sql"),
}
SAID: dict[Form, str] = {
    "community": "TimescaleDB Community: hypertables, continuous aggregates and their policies",
    "apache": "TimescaleDB under the Apache licence: hypertables, trimmed by the scheduler",
    "none": "no TimescaleDB: native partitions, made and trimmed by the scheduler",
}
"""What is said of each form."""


def detect(connection: psycopg.Connection) -> Form:
    """The best form that this server can have; makes the extension where it is there to be made."""
    available = connection.execute(
        "SELECT installed_version FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).fetchone()
    if available is None:
        return "none"
    if available[0] is None:
        try:
            connection.execute("CREATE EXTENSION timescaledb")
        except psycopg.Error:
            return "none"  # not preloaded, or not ours to make
    row = connection.execute("SELECT current_setting('timescaledb.license', true)").fetchone()
    return "community" if row is not None and row[0] == "timescale" else "apache"


def apply(dsn: str) -> Form:
    """Make time series of the tables that are to be some, in the form that was found.

    Takes the owner's address. May be done again; rows stay.

    Raises:
        psycopg.Error: the database refuses, or does not answer; everything is as it was.
    """
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        form = detect(connection)
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '5s'")
            # One at a time: the functions are replaced.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('mindstream timeseries'))")
            for name in (*_SQL[form], "common.sql"):
                text = (FILES / name).read_text(encoding="utf-8")
                connection.execute(text)
            connection.execute(f"SET LOCAL ROLE {ROLE}")
            connection.execute("SELECT timeseries_apply()")
    return form


def release(dsn: str) -> None:
    """Take away the views that would keep a migration from being undone."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        if _known(connection):
            connection.execute("SELECT timeseries_release()")


def form_of(dsn: str) -> Form | None:
    """The form that a database has, None before its migration."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        if not _known(connection):
            return None
        row = connection.execute("SELECT timeseries_form()").fetchone()
        return None if row is None else row[0]


def _known(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT to_regproc('timeseries_form') IS NOT NULL").fetchone()
    return row is not None and bool(row[0])
