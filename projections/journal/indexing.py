"""An entry's words as each store indexes them: a ``tsvector``, or fields of a document.

Pure; what an entry is found by in one is what it is found by in the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct, pack
from typing import Any
from uuid import UUID

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
_COUNT, _ONE = Struct("!i").pack, Struct("!xHH").pack


def analysed(user_id: UUID, title: str, content: str) -> dict[str, Any]:
    """What an index of documents finds an entry by, in each language.

    Stems have a gap for each stop word. Words have their owner's mark before them, so that looking
    for typos in one person's words reads nothing of the others'.
    """
    fields: dict[str, Any] = {}
    mark = mark_of(user_id)
    told_in = {"title": words_of(title), "content": words_of(content)}
    for part, words in told_in.items():
        for language in LANGUAGES:
            stop = STOP[language]
            stems = [GAP if word in stop else stem(word, language) for word in words]
            told = dict.fromkeys(word for word in words if word not in stop)
            fields[f"{language}_{part}"] = " ".join(stems)
            fields[f"{language}_{part}_words"] = " ".join(mark + word for word in told)
    fields |= {f"{language}_often": [] for language in LANGUAGES}
    for one in often(_places(told_in["content"], 0)):
        fields[f"{one[:2]}_often"].append(one[2:])
    return fields


def often(places: Mapping[str, Sequence[int]]) -> list[str]:
    """The stems of the words that come often, from where each word stands.

    In each language, whose two letters come first.
    """
    counts: dict[str, int] = {}
    for word, at in places.items():
        times = len(at)
        for one in _stems(word):
            counts[one] = counts.get(one, 0) + times
    return [one for one, count in counts.items() if count >= MANY]


@lru_cache(50_000)
def _stems(word: str) -> tuple[str, ...]:
    """A word's stem in each language where it tells something, the language first."""
    return tuple(each + stem(word, each) for each in LANGUAGES if word not in STOP[each])


def mark_of(user_id: UUID) -> str:
    """What a person's words begin with in an index: few others have the same."""
    return user_id.hex[-6:]


def vector(user_id: UUID, title: str, content: str) -> bytes:
    """The ``tsvector`` of an entry, as the server sends and takes it."""
    mark = mark_of(user_id)
    titled = _places(words_of(title), 1)
    told = _places(words_of(content), _CONTENT_AT)
    # The server sorts them.
    parts = [_lexeme(f"{mark}{ANY}", [])]
    parts += [_lexeme(f"{mark}{TITLE}{word}", places) for word, places in titled.items()]
    parts += [_lexeme(f"{mark}{OFTEN_}{one}", []) for one in often(told)]
    for word, places in titled.items():
        told[word] = places + told.get(word, [])
    head = f"{mark}{WORD}"
    parts += [_lexeme(head + word, places) for word, places in told.items()]
    return _COUNT(len(parts)) + b"".join(parts)


def _places(words: Sequence[str], first: int) -> dict[str, list[int]]:
    """Where each word stands, from ``first`` on."""
    places: dict[str, list[int]] = {}
    for at, word in enumerate(words, first):
        if word in places:
            places[word].append(at)
        else:
            places[word] = [at]
    return places


def _lexeme(text: str, at: list[int]) -> bytes:
    if len(at) == 1:
        return text.encode() + _ONE(1, at[0])
    kept = at[:_POSITIONS]
    return text.encode() + pack(f"!xH{len(kept)}H", len(kept), *kept)


NO_WORDS = _COUNT(0)
"""The ``tsvector`` of an entry that nothing finds."""
