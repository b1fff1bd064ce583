"""What a projection is, and the commonest kind: a view that keeps one row for each key.

A projection has a permanent name, a version that changes with its meaning, the event types that it
takes, and tables of its own. The engine reads and decodes events once, gives each projection those
that it takes, in order, and commits its rows together with its checkpoint.

``RowView`` reduces a view to a struct and a pure fold. The engine loads the rows that a batch
touches, folds in memory, and writes what changed set-based. The same fold serves the live view, a
rebuild and a comparison of the two.

When a person is erased (``SubjectErased``) the engine deletes their rows: a view only says by which
column. It is the one event that every partition of a view gets, whatever its stream.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, cast
from uuid import UUID

import msgspec

from domain.accounts.events import SubjectErased
from domain.event import Event, Recorded

Row = TypeVar("Row", bound=msgspec.Struct)

PARTITIONS = 4
"""Partitions of a view whose streams may be folded apart: so many projectors share its work."""


class RowView(Generic[Row]):
    """A view with one row for each key; subclasses are stateless.

    ``name`` is permanent (``journal.entries``), ``table`` is ``<context>_<view>``. ``row`` is a
    frozen msgspec struct whose fields are the table's columns, in any order; ``key`` names the
    columns of the primary key. The table's DDL stands in ``schema/migrations/``. Every table has
    ``user_id`` (or ``tenant_id``), and row-level security by it.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    takes: ClassVar[tuple[type[Event], ...]]
    table: ClassVar[str]
    row: ClassVar[type[msgspec.Struct]]
    key: ClassVar[tuple[str, ...]]
    partitioned: ClassVar[bool] = True
    """Whether all events of a row come from one stream, so that streams may be folded apart."""
    grows_by: ClassVar[str | None] = None
    """For a log, to which rows are only added: the column that says in which order."""
    with_metadata: ClassVar[bool] = False
    """Whether it asks who caused an event: its source is to read that, which costs a little."""
    apart: ClassVar[bool] = False
    """Whether it takes so much longer than others that it must not hold them up: it is folded on a
    thread and a connection of its own."""
    outside: Any = None
    """Where its rows lie if not in the database: an ``outside.Store``, set when processes are put
    together. The view is then of another version, so that its rows are made anew there."""
    erases: ClassVar[str | None] = "user_id"
    """The column with the id of the person whose row it is: their rows go when they are erased.
    None: the rows hold nothing that is about a person, or others need them, too."""
    timed: ClassVar[str | None] = None
    """For a time series, the column with the time that a row belongs to: it never changes, and is
    part of the table's primary key where it is not part of ``key``. See ``series``."""
    store: ClassVar[str] = "postgres"
    """Which store keeps the rows: the read models' own, or ``timeseries``."""
    refolds: ClassVar[str | None] = None
    """The column with the id of the person whose words are in a row that others need: it is folded
    anew when they are erased."""
    personal: ClassVar[tuple[str, ...]] = ()
    """Columns that hold what people wrote: a comparison shows only whether they differ."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Have it take the erasure of a person, which the engine does to its rows."""
        super().__init_subclass__(**options)
        takes = cls.__dict__.get("takes", ())
        if isinstance(takes, tuple) and takes and cls.erases is not None:
            cls.takes = (*(each for each in takes if each is not SubjectErased), SubjectErased)

    @property
    def partitions(self) -> int:
        """How many checkpoints the view has; another number is another version of it."""
        return PARTITIONS if self.partitioned else 1

    @property
    def ranged(self) -> bool:
        """Whether a range of time can be rebuilt: a key must tell the stream of its events."""
        return self.partitioned and type(self).stream_of is not RowView.stream_of

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """Keys of the rows that this event touches, most often one."""
        raise NotImplementedError

    def creates(self, recorded: Recorded) -> bool:
        """Whether the rows of this event cannot exist before it, so that none need be loaded."""
        return recorded.stream_version == 1

    def fold(self, key: tuple[Any, ...], row: Row | None, recorded: Recorded) -> Row | None:
        """The row after this event; None where there is (no longer) one. Pure."""
        raise NotImplementedError

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The one stream that has all events of a row; None where it is not known by the key."""
        return None

    def document(self, row: Row) -> dict[str, Any]:
        """What a store outside keeps of a row: its fields, and what is derived for finding it."""
        fields: dict[str, Any] = msgspec.to_builtins(row)
        return fields

    def row_of(self, document: dict[str, Any]) -> Row:
        """The row that a store outside has kept."""
        row: Row = msgspec.convert(document, type=cast("Any", self.row))
        return row

    def user_of(self, row: Row) -> UUID:
        """Whose caches a change of this row touches."""
        user: UUID = row.user_id  # type: ignore[attr-defined]
        return user
