"""A diary that is made up, with every kind of line that must be refused.

Owns the lines and what they must come to: it knows because it made them, not because it has rules
of its own. The same seed makes the same diary.
"""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Callable
from typing import Any

from tests.support.diary import Diary

MOODS = ("ecstatic", "happy", "neutral", "sad", "anxious", "angry", None)
TAGS = ("work", "café", "naïve", "rain", "a b", "日記", "walks", "x" * 50)
SPACES = (" ", "\n", "\t", "\u00a0", "\u2003", "\u3000", "  ", "\u0085")

_Spoil = Callable[[dict[str, Any]], tuple[bytes, list[tuple[str, str]]]]


class GeneratedDiary(Diary):
    """``size`` days, about one in ten of them followed by a line that is refused."""

    def __init__(self, size: int, seed: int = 7) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.refused: dict[int, list[tuple[str, str]]] = {}
        draw = random.Random(seed)
        first = datetime.date(2001, 1, 1)
        raw: list[bytes] = []
        gap = 0
        for number in range(size):
            gap += draw.random() < 0.02
            entry = _entry(draw, str(first + datetime.timedelta(number + gap)))
            raw.append(json.dumps(entry, ensure_ascii=draw.random() < 0.5).encode())
            self.entries[entry["date"]] = entry
            if draw.random() < 0.1:
                spoil = _SPOILS[len(self.refused) % len(_SPOILS)]
                # Its day is free, so that nothing but its own fault can be the reason.
                line, faults = spoil(_entry(draw, f"19{draw.randrange(10, 99)}-05-05"))
                raw.append(line)
                self.refused[len(raw)] = faults
            elif draw.random() < 0.05:
                again = {**_entry(draw, draw.choice(list(self.entries)))}
                raw.append(json.dumps(again).encode())
                self.refused[len(raw)] = [("date", "duplicate_entry_date")]
            elif draw.random() < 0.02:
                raw.append(b"" if draw.random() < 0.5 else b" \t\r")  # counted, and nothing else
        raw.append(b'{"title": "' + b"z" * 2**20 + b'"}')
        self.refused[len(raw)] = [("", "too_long")]
        self.raw = b"\xef\xbb\xbf" + b"\n".join(raw)


def _entry(draw: random.Random, date: str) -> dict[str, Any]:
    words = (draw.choice(("up", "and", "to", "bed", "🙂", "œuvre")) for _ in range(80))
    content = "".join(word + draw.choice(SPACES) for word in words) + "."
    entry: dict[str, Any] = {"date": date, "title": f"Day {date}", "content": content}
    if draw.random() < 0.6:
        entry["mood"] = draw.choice(MOODS)
    if draw.random() < 0.5:
        entry["tags"] = sorted(set(draw.choices(TAGS, k=3)))
    if draw.random() < 0.3:
        entry["is_private"] = draw.random() < 0.5
    if draw.random() < 0.3:
        entry["location"] = draw.choice(("Seething Lane", "", None, "é" * 200))
    return entry


def _with(**fields: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda entry: json.dumps({**entry, **fields}).encode()


def _spoiled(line: Callable[[dict[str, Any]], bytes], *faults: tuple[str, str]) -> _Spoil:
    return lambda entry: (line(entry), list(faults))


def _without_title(entry: dict[str, Any]) -> bytes:
    return json.dumps({name: entry[name] for name in entry if name != "title"}).encode()


_SPOILS: tuple[_Spoil, ...] = (
    _spoiled(_with(content="x" * 10_001), ("content", "too_long")),
    _spoiled(_with(content="\N{GRINNING FACE}" * 10_001), ("content", "too_long")),
    _spoiled(_with(content=""), ("content", "too_short")),
    _spoiled(_with(title="t" * 201), ("title", "too_long")),
    _spoiled(_with(date="2024-02-30"), ("date", "invalid_format")),
    _spoiled(_with(date="20240230"), ("date", "invalid_format")),
    _spoiled(_with(date=None), ("date", "wrong_type")),
    _spoiled(_with(colour="red"), ("colour", "unknown_field")),
    _spoiled(_with(mood="hangry"), ("mood", "not_allowed")),
    _spoiled(_with(tags=["fine", "y" * 51]), ("tags.1", "too_long")),
    _spoiled(_with(tags=[f"tag {n}" for n in range(51)]), ("tags", "too_long")),
    _spoiled(_with(title="a\0b"), ("title", "invalid_character")),
    _spoiled(_with(title="a\ud800b"), ("title", "invalid_character")),
    _spoiled(_with(location="l" * 201), ("location", "too_long")),
    _spoiled(
        _with(title=7, is_private="no"), ("title", "wrong_type"), ("is_private", "wrong_type")
    ),
    _spoiled(_without_title, ("title", "required")),
    _spoiled(lambda entry: b'{"date": "1950-01-01", "title": "\xff\xfe"}', ("", "malformed_json")),
    _spoiled(lambda entry: b'{"date": "1950-01-01", ', ("", "malformed_json")),
    _spoiled(lambda entry: b"[" * 5_000, ("", "malformed_json")),
    _spoiled(lambda entry: b"[]", ("", "wrong_type")),
    _spoiled(lambda entry: b"null", ("", "wrong_type")),
    _spoiled(
        lambda entry: b'{"title": "' + b"z" * 70_000 + b'"}',
        ("title", "too_long"),
        ("date", "required"),
        ("content", "required"),
    ),
)
