"""The engine as workers call it: by the names of projections, on this database.

``workers.rebuilding.Engine`` is the port.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from adapters.event_store.metadata import SourceWithMetadata
from adapters.event_store.source import PostgresSource
from adapters.event_store.subject_keys import SubjectKeys
from bootstrap.views import VIEWS, view
from projections.engine import erasure, series
from projections.engine import rebuild as engine
from projections.engine.rebuild import Options, Progress, Signal, Wish
from projections.engine.repair import key_of, rebuild_row
from projections.engine.runner import LOOK
from projections.engine.telemetry import (
    AGES,
    CHECKPOINTS,
    STATUSES,
    ProjectionStatus,
    filled_in,
    statuses_of,
)
from projections.engine.view import RowView
from workers.rebuilding import Asked

ROLE = "mindstream_project"


class Rebuildable(msgspec.Struct, frozen=True):
    """What may be asked of a view: ``write_api.ops_projections.Rebuildable``."""

    view: RowView[Any]

    @property
    def ranged(self) -> bool:
        """Whether a range of time can be rebuilt."""
        return self.view.ranged

    @property
    def key(self) -> str:
        """The columns that a key is made of."""
        return "/".join(self.view.key)

    def takes(self, key: str) -> bool:
        """Whether the text is a key of its rows."""
        try:
            key_of(self.view, key)
        except engine.UnknownKey:
            return False
        return True


REBUILDABLE = {each.name: Rebuildable(each) for each in VIEWS}
"""Every projection that can be rebuilt."""


class DirectEngine:
    """Acts on the database of ``dsn``, each call on connections of its own.

    ``keys`` open the events, which lie there. Rows of time series lie in the database of
    ``series``, if that is another one.
    """

    notices_within = 2 * LOOK

    def __init__(
        self, dsn: str, keys: SubjectKeys | None = None, series: str | None = None
    ) -> None:
        self._dsn = dsn
        self._keys = keys
        self._series = series

    def _dsn_of(self, name: str) -> str:
        """The database that has the rows of a view."""
        elsewhere = self._series is not None and view(name).store == "timeseries"
        return self._series if self._series and elsewhere else self._dsn

    def _places(self) -> dict[str, list[RowView[Any]]]:
        """Each database, and the views whose rows it has."""
        places: dict[str, list[RowView[Any]]] = {}
        for each in VIEWS:
            places.setdefault(self._dsn_of(each.name), []).append(each)
        return places

    def _sources(self, name: str) -> Callable[[], PostgresSource]:
        kind = SourceWithMetadata if view(name).with_metadata else PostgresSource
        return functools.partial(kind, self._dsn, keys=self._keys)

    def rebuild(
        self,
        name: str,
        options: Options,
        operation_id: UUID,
        heed: Callable[[Progress], Signal],
    ) -> engine.Report:
        """Build it anew."""
        return engine.rebuild(
            self._dsn_of(name),
            self._sources(name),
            view(name),
            options=options,
            operation_id=operation_id,
            heed=heed,
            role=ROLE,
        )

    def rebuild_together(self, asked: Sequence[Asked]) -> None:
        """Build all of them anew from one reading."""
        wishes: dict[str, list[Wish]] = {}
        for one in asked:
            try:
                found = view(one.name)
            except KeyError as error:
                one.ended(error)
            else:
                wish = Wish(found, one.options, one.operation_id, one.heed, one.ended)
                wishes.setdefault(self._dsn_of(one.name), []).append(wish)
        for dsn, some in wishes.items():
            engine.rebuild_together(dsn, lambda found: self._sources(found.name), some, role=ROLE)

    def verify(self, name: str, heed: Callable[[Progress], Signal]) -> engine.Verified:
        """Compare it with a fold of the events."""
        return engine.verify(
            self._dsn_of(name), self._sources(name), view(name), heed=heed, role=ROLE
        )

    def rollback(self, name: str) -> engine.Report:
        """Serve the kept generation again."""
        return engine.rollback(self._dsn_of(name), self._sources(name), view(name), role=ROLE)

    def set_paused(self, name: str, paused: bool) -> bool:
        """Have its projector leave it alone, or take it up; False where it was never begun."""
        with self._connected(self._dsn_of(name)) as connection:
            return engine.set_paused(connection, view(name).name, paused)

    def rows_of(self, user_id: UUID) -> dict[str, int]:
        """How many rows of a person each table has."""
        found: dict[str, int] = {}
        for dsn, views in self._places().items():
            with self._connected(dsn) as connection:
                found |= erasure.rows_of(connection, views, user_id)
        return found

    def release(self, user_id: UUID) -> int:
        """Settle what is in quarantine of a person's streams; how many items."""
        released = 0
        with self._connected(self._dsn) as events:
            for dsn in self._places():
                with self._connected(dsn) as connection:
                    released += erasure.release(connection, events, user_id)
        return released

    def not_passed(self, position: int) -> Sequence[str]:
        """The projections that work and have not come to a position."""
        found: list[str] = []
        for dsn, views in self._places().items():
            with self._connected(dsn) as connection:
                found += erasure.not_passed(connection, views, position)
        return sorted(found)

    def purge(self, user_id: UUID, position: int) -> dict[str, int]:
        """Delete a person's rows where projectors do not; by table, how many."""
        purged: dict[str, int] = {}
        for dsn, views in self._places().items():
            with self._connected(dsn) as connection:
                purged |= erasure.purge(connection, views, user_id, position)
                for one, key in list(erasure.keys_to_refold(connection, views, user_id)):
                    rebuild_row(connection, self._sources(one.name), one, key)
                    purged[one.table] = purged.get(one.table, 0) + 1
        return purged

    def retain(self, now: datetime) -> int:
        """Sum up and drop what time series keep no longer; how many of them had some of that."""
        source = PostgresSource(self._dsn)
        changed = 0
        try:
            for one in filter(series.is_series, VIEWS):
                with self._connected(self._dsn_of(one.name)) as connection:
                    before = series.kept_since(connection, one)
                    series.retain(connection, one, now, source.position_before)
                    changed += series.kept_since(connection, one) != before
        finally:
            source.close()
        return changed

    def status(self, name: str) -> ProjectionStatus | None:
        """How it is, None where it was never begun."""
        dsn = self._dsn_of(name)
        with self._connected(dsn) as connection:
            if dsn == self._dsn:
                rows: list[Sequence[Any]] = [*connection.execute(STATUSES)]
            else:
                rows = [*connection.execute(CHECKPOINTS)]
        if dsn != self._dsn:
            with self._connected(self._dsn) as connection:
                ages = AGES.replace("$1", "%s::int8[]")
                positions = [row[4] for row in rows]
                rows = filled_in(rows, connection.execute(ages, (positions,)).fetchall())
        return next((each for each in statuses_of(rows) if each.name == name), None)

    def _connected(self, dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            dsn,
            autocommit=True,
            connect_timeout=5,
            options=f"-c role={ROLE}",
            application_name="mindstream-operators",
        )
