"""What a series looks like: as JSON, as CSV and as an Arrow stream.

Tables have a row for each point, its fields as columns, with a column for each mood and type of
activity, and ``key`` as the second column where there are groups. In Arrow the last column,
``start``, is the instant at which the bucket begins, by which charts can be drawn.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from projections.accounts.activity import ACTIVITIES
from projections.buckets import Width
from projections.journal.daily import MOODS

JSON, CSV = "application/json", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"

PARTED: Mapping[str, Sequence[str]] = {"moods": MOODS, "by_type": ACTIVITIES}
"""Fields that are several columns, one for each of these."""

Point = TypeVar("Point")


class Series(msgspec.Struct, Generic[Point], frozen=True):
    """The points of one group; ``key`` is the group's value, null where there are no groups."""

    key: str | None
    points: list[Point]


class SeriesDocument(msgspec.Struct, Generic[Point], frozen=True, kw_only=True):
    """Series by buckets.

    ``from`` and ``to`` are as they were given, or what was taken in their place; a time is shown in
    the zone. All that was recorded before ``as_of`` is counted, and all up to ``position``.
    ``people`` is how many are counted.
    """

    bucket: Width
    tz: str
    begin: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    as_of: str
    position: int
    people: int
    series: list[Series[Point]]


Column = tuple[str, str, list[Any]]
"""Name, type (``text``, ``count`` or ``score``) and values."""


def columns(kind: type[Any], series: Sequence[Series[Any]], *, grouped: bool) -> list[Column]:
    """The points of all groups, one after the other, as columns."""
    points = [point for one in series for point in one.points]
    found: list[Column] = []
    for field in msgspec.structs.fields(kind):
        values = [getattr(point, field.name) for point in points]
        if field.name == "bucket":
            found.append(("bucket", "text", values))
            if grouped:
                keys = [one.key for one in series for _ in one.points]
                found.append(("key", "text", keys))
        elif field.name == "average_score":
            found.append((field.name, "score", values))
        elif field.name in PARTED:
            found += [
                (name, "count", [value[name] for value in values]) for name in PARTED[field.name]
            ]
        else:
            found.append((field.name, "count", values))
    return found


def as_csv(table: Iterable[Column]) -> bytes:
    """A table as RFC 4180 has it, with a header; nothing stands for null."""
    named = list(table)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([name for name, _, _ in named])
    writer.writerows(zip(*(values for _, _, values in named), strict=True))
    return text.getvalue().encode()


def as_arrow(table: Sequence[Column], starts: Sequence[int]) -> bytes:
    """A table as an Arrow IPC stream of one batch.

    ``starts`` are the instants of the buckets of one group, in microseconds since 1970.
    """
    # Few ask for it, and importing it takes 45 ms. It comes without types.
    import nanoarrow  # type: ignore[import-untyped]  # noqa: PLC0415
    from nanoarrow.ipc import StreamWriter  # type: ignore[import-untyped]  # noqa: PLC0415

    types = {
        "text": nanoarrow.string(),
        "count": nanoarrow.int64(),
        "score": nanoarrow.float64(),
    }
    rows = len(table[0][2])
    begins = list(starts) * (rows // len(starts)) if starts else []
    stamp = nanoarrow.timestamp("us", timezone="UTC")
    arrays = [nanoarrow.c_array(values, types[kind]) for _, kind, values in table]
    schema = nanoarrow.struct({**{name: types[kind] for name, kind, _ in table}, "start": stamp})
    batch = nanoarrow.c_array_from_buffers(
        schema, rows, [None], children=[*arrays, nanoarrow.c_array(begins, stamp)]
    )
    sink = io.BytesIO()
    with StreamWriter.from_writable(sink) as writer:
        writer.write_stream(nanoarrow.c_array_stream(batch))
    return sink.getvalue()
