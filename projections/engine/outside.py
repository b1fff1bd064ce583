"""Rows that lie outside the database: what the engine asks of a store of its own kind.

A view's rows lie in a table beside its checkpoints, unless it has a store ``outside``: then each
generation is an index of that store, under the name that its table would have. Writes there are
idempotent, each row having the position of its last event, and the checkpoint follows: what was
written before a crash is skipped when it is folded again. Owns the port and what a failure of the
store means; ``adapters/search/`` implements it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import psycopg

from domain.event import Recorded
from projections.engine.checkpoints import Connection
from projections.engine.comparison import Comparison
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter


class StoreUnavailable(psycopg.OperationalError):
    """The store does not answer. No event is to blame: the view waits, and others go on.

    To the engine it is what the loss of a database is. The message names no row.
    """


class Writer(Protocol):
    """Writes one view into one table or index."""

    view: RowView[Any]

    def apply(self, events: Iterable[Recorded], *, careful: bool = False) -> set[UUID] | None:
        """Fold the events; whose rows changed, None being too many to name."""
        ...

    def replace(self, key: tuple[Any, ...], row: Any | None) -> None:
        """Put this row, or none, in the place of whatever the key has."""
        ...

    def forget_staging(self) -> None:
        """The transaction was rolled back."""
        ...


class Snapshot(Protocol):
    """An index as it was at one moment, whatever is written to it since."""

    def close(self) -> None:
        """Give it up."""
        ...


class Store(Protocol):
    """Where the rows of a view lie. Names are those that its tables would have.

    Every method raises ``StoreUnavailable`` where the store does not answer. Stores are made in
    one process and used in others: they can be pickled, and connect when they are first used.
    """

    def writer(self, view: RowView[Any], name: str) -> Writer:
        """What writes into an index, which must be there."""
        ...

    def begin(self, view: RowView[Any], name: str) -> None:
        """Make an empty index, in the place of one that may be there."""
        ...

    def drop(self, name: str) -> None:
        """Remove an index, if it is there."""
        ...

    def swap(self, live: str, kept: str, chosen: str) -> None:
        """At once: what was ``live`` is called ``kept``, and what was ``chosen`` is live."""
        ...

    def finish(self, name: str) -> None:
        """Make an index that has grown fit to be searched."""
        ...

    def count(self, view: RowView[Any], name: str, user_id: UUID | None = None) -> int:
        """How many rows there are, or how many of one person; 0 where there is no index."""
        ...

    def purge(self, view: RowView[Any], name: str, users: Sequence[UUID], position: int) -> int:
        """Delete these people's rows, as an event at ``position`` would; how many there were."""
        ...

    def snapshot(self, view: RowView[Any], name: str) -> Snapshot:
        """An index as it is now."""
        ...

    def compare(
        self,
        view: RowView[Any],
        live: Snapshot,
        expected: Snapshot,
        position: int,
        tick: Callable[[], None],
    ) -> Comparison:
        """Compare two indexes; ``tick`` is called now and then, and may raise to end it."""
        ...


def writer_of(view: RowView[Any], connection: Connection, table: str) -> Writer:
    """What writes into a view's table, or into the index that stands for it."""
    store: Store | None = view.outside
    return ViewWriter(view, connection, table) if store is None else store.writer(view, table)
