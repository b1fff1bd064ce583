"""Tables of text that fit a terminal without breaking an id or a name.

Owns where each cell goes. A terminal that is too narrow for all columns loses the least of them, or
has them on lines of their own below the row; a pipe has no width, and gets every row on one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from rich.cells import cell_len

GAP = 2
"""Blanks between columns."""
FOLDS_AT = 24
"""Cells that a column of sentences keeps at least."""


class Layout(msgspec.Struct, frozen=True):
    """The lines of a table, its headings apart, and the columns that had no room."""

    head: str
    lines: list[str]
    dropped: list[str]


def laid_out(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    width: int | None,
    *,
    drop: Sequence[str] = (),
    below: Sequence[str] = (),
    folds: str | None = None,
) -> Layout:
    """Lay a table out for so many cells; None: as wide as it is.

    ``folds`` is a column of sentences, broken between words. Where that does not do, ``below``
    leave their column one after the other, in this order, and then ``drop`` are left out likewise.
    """
    texts = [
        ["" if cell is None else " ".join(str(cell).split("\n")) for cell in row] for row in rows
    ]
    widths = {
        name: max(map(cell_len, (name, *(row[at] for row in texts))))
        for at, name in enumerate(columns)
    }
    beside = list(columns)
    leaving = [] if width is None else [*below, *drop]

    def excess() -> int:
        taken = sum(widths[name] + GAP for name in beside) - GAP
        return 0 if width is None else taken - width

    if folds is not None and excess() > 0:
        widths[folds] = max(widths[folds] - excess(), min(widths[folds], FOLDS_AT))
    while excess() > 0 and leaving:
        beside.remove(leaving.pop(0))
    places = [columns.index(name) for name in beside]
    wide = [widths[name] for name in beside]
    under = [at for at, name in enumerate(columns) if name in below and name not in beside]
    lines: list[str] = []
    for row in texts:
        lines += _lines(
            [_folded(row[at], widths[columns[at]], columns[at] == folds) for at in places], wide
        )
        told = ", ".join(f"{columns[at].lower()} {row[at]}" for at in under if row[at])
        lines += _filled(told, width or 0)
    [head] = _lines([[name] for name in beside], wide)
    return Layout(head, lines, [name for name in drop if name not in beside])


def _folded(text: str, wide: int, folds: bool) -> list[str]:
    return textwrap.wrap(text, wide, break_on_hyphens=False) or [""] if folds else [text]


def _filled(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, FOLDS_AT),
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(cells: list[list[str]], widths: list[int]) -> list[str]:
    """The lines of one row, whose cells may have several each."""
    return [
        "".join(
            (part := cell[number] if number < len(cell) else "")
            + " " * (wide - cell_len(part) + GAP)
            for cell, wide in zip(cells, widths, strict=True)
        ).rstrip()
        for number in range(max(map(len, cells)))
    ]
