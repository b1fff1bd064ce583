"""An entry's words as each store indexes them: a ``tsvector``, or fields of a document.

Pure; what an entry is found by in one is what it is found by in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any
from uuid import UUID

from domain.journal.languages import Language
from projections.journal.language import LANGUAGES, STOP, stem, words_of

MANY = 3
"""Times that a word comes often."""
GAP = "_"
"""What stands for a stop word: no word has it."""
ANY, WORD, TITLE, OFTEN_ = "", ":", "=", "+"
"""What follows its owner's mark in a lexeme: of any word, a word, one of the title, a stem that
comes often."""
_CONTENT_AT = 2_000
"""Where the content's positions begin: no phrase reaches there from the title."""
_POSITIONS = 255
"""Positions that PostgreSQL keeps of a lexeme."""
_COUNT, _HEAD = Struct("!i").pack, Struct("!H").pack


def analysed(user_id: UUID, title: str, content: str) -> dict[str, Any]:
    """What an index of documents finds an entry by, in each language.

    Stems have a gap for each stop word. Words have their owner's mark before them, so that looking
    for typos in one person's words reads nothing of the others'.
    """
    fields: dict[str, Any] = {}
    mark = mark_of(user_id)
    for part, text in (("title", title), ("content", content)):
        words = words_of(text)
        for language in LANGUAGES:
            stop = STOP[language]
            stems = [GAP if word in stop else stem(word, language) for word in words]
            told = dict.fromkeys(word for word in words if word not in stop)
            fields[f"{language}_{part}"] = " ".join(stems)
            fields[f"{language}_{part}_words"] = " ".join(mark + word for word in told)
            if part == "content":
                places: dict[str, list[int]] = {}
                for at, word in enumerate(words):
                    places.setdefault(word, []).append(at)
                fields[f"{language}_often"] = often(places, language)
    return fields


def often(places: Mapping[str, Sequence[int]], language: Language) -> list[str]:
    """The stems of the words that come often, from where each word stands."""
    counts: dict[str, int] = {}
    stop = STOP[language]
    for word, at in places.items():
        if word not in stop:
            one = stem(word, language)
            counts[one] = counts.get(one, 0) + len(at)
    return [one for one, count in counts.items() if count >= MANY]


def mark_of(user_id: UUID) -> str:
    """What a person's words begin with in an index: few others have the same."""
    return user_id.hex[-6:]


def vector(user_id: UUID, title: str, content: str) -> bytes:
    """The ``tsvector`` of an entry, as the server sends and takes it."""
    mark = mark_of(user_id)
    positions: dict[str, list[int]] = {mark + ANY: []}
    for at, word in enumerate(words_of(title), 1):
        for kind in (TITLE, WORD):
            positions.setdefault(mark + kind + word, []).append(at)
    words = words_of(content)
    found: dict[str, list[int]] = {}
    for at, word in enumerate(words, _CONTENT_AT):
        found.setdefault(word, []).append(at)
    for word, places in found.items():
        positions[mark + WORD + word] = positions.get(mark + WORD + word, []) + places
    for language in LANGUAGES:
        for one in often(found, language):
            positions[f"{mark}{OFTEN_}{language}{one}"] = []
    return _encoded(positions)


def _encoded(positions: dict[str, list[int]]) -> bytes:
    parts = [_COUNT(len(positions))]
    for lexeme, at in positions.items():  # the server sorts them
        kept = at[:_POSITIONS]
        parts.append(lexeme.encode() + b"\0" + _HEAD(len(kept)) + b"".join(map(_HEAD, kept)))
    return b"".join(parts)


NO_WORDS = _encoded({})
"""The ``tsvector`` of an entry that nothing finds."""
