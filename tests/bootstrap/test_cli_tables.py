"""That tables fit a terminal, and that an id or a name is never broken."""

from __future__ import annotations

from uuid import UUID

import pytest

from bootstrap.cli.tables import laid_out

ID = str(UUID(int=1))
COLUMNS = ("ID", "NAME", "HEAD", "DETAIL")
ROW = (ID, "journal.entries", 18_829, "waits for the projector")
LEAVING = {"drop": ("HEAD",), "below": ("DETAIL",)}


def test_a_pipe_gets_a_row_on_one_line_however_long() -> None:
    layout = laid_out(COLUMNS, [(*ROW[:3], "word " * 200 + "\nend")], None, **LEAVING)
    [line] = layout.lines
    assert line.endswith("word  end")
    assert layout.dropped == []


@pytest.mark.parametrize("width", [200, 80, 60, 40])
def test_a_terminal_is_kept_to_and_ids_and_names_stay_whole(width: int) -> None:
    layout = laid_out(COLUMNS, [ROW, ROW], width, **LEAVING)
    lines = [layout.head, *layout.lines]
    words = "\n".join(lines).split()
    assert words.count(ID) == 2
    assert words.count("journal.entries") == 2
    assert layout.lines[0] == layout.lines[len(layout.lines) // 2]
    if width >= 60:  # with less not even the id and the name fit
        assert max(map(len, lines)) <= width


def test_what_has_no_room_is_below_the_row_and_then_left_out() -> None:
    assert laid_out(COLUMNS, [ROW], 90, **LEAVING).lines == [
        f"{ID}  journal.entries  18829  waits for the projector"
    ]
    narrower = laid_out(COLUMNS, [ROW, (*ROW[:3], None)], 80, **LEAVING)
    assert narrower.head.split() == ["ID", "NAME", "HEAD"]
    assert narrower.lines == [
        f"{ID}  journal.entries  18829",
        "    detail waits for the projector",
        f"{ID}  journal.entries  18829",
    ]
    assert narrower.dropped == []
    narrowest = laid_out(COLUMNS, [ROW], 58, **LEAVING)
    assert narrowest.head.split() == ["ID", "NAME"]
    assert narrowest.dropped == ["HEAD"]


def test_sentences_are_broken_between_words() -> None:
    rows = [("disk", "ok", "far more than enough for a long time to come"), ("日", "ok", "")]
    layout = laid_out(("CHECK", "STATE", "DETAIL"), rows, 40, folds="DETAIL")
    assert layout.lines == [
        "disk   ok     far more than enough for a",
        "              long time to come",
        "日     ok",
    ]
