"""What a search must find, by a plain script that looks at every entry and knows no index.

Its only shared parts with the product are folding, stems and stop words: what a word is.
"""

from __future__ import annotations

import datetime
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

from projections.journal.asked import understand
from projections.journal.language import STOP, Language, stem, words_in


class Written(NamedTuple):
    """An entry as somebody wrote it."""

    id: str
    date: datetime.date
    title: str
    content: str
    mood: str | None = None
    tags: tuple[str, ...] = ()
    is_private: bool = False


class Answer(NamedTuple):
    """What must be found, whatever the order."""

    ids: set[str]
    moods: list[tuple[str, int]]
    tags: list[tuple[str, int]]


def distance(one: str, other: str) -> int:
    """Letters swapped, added, lost or changed between two words (optimal string alignment)."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]


def brute_force(
    entries: list[Written],
    q: str = "",
    *,
    language: Language = "en",
    mood: str | None = None,
    tags: tuple[str, ...] = (),
    date_from: datetime.date | None = None,
    date_to: datetime.date | None = None,
    include_private: bool = False,
) -> Answer:
    """Look at every entry."""
    asked = understand(q, language)
    has = _Reading(language).has
    found = []
    for entry in entries:
        if (
            (entry.is_private and not include_private)
            or (mood is not None and entry.mood != mood)
            or not set(tags) <= set(entry.tags)
            or (date_from is not None and entry.date < date_from)
            or (date_to is not None and entry.date > date_to)
        ):
            continue
        texts = [_words(text) for text in (entry.title, entry.content)]
        if all(has(texts, term) for term in asked.terms) and not any(
            has(texts, term) for term in asked.without
        ):
            found.append(entry)
    moods = Counter(entry.mood for entry in found if entry.mood is not None)
    used = Counter(tag for entry in found for tag in entry.tags)
    return Answer({entry.id for entry in found}, _most(moods, 6), _most(used, 20))


@lru_cache(5_000)
def _words(text: str) -> list[str]:
    return [each.word for each in words_in(text)]


class _Reading:
    """Looks for terms in texts, word by word."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._near: dict[tuple[str, str], bool] = {}

    def has(self, texts: list[list[str]], term: Any) -> bool:
        """Whether one of the texts has the term."""
        return any(
            (term.word is not None and self._typo(term.word, word))
            or all(self._stands(words, at + slot.after, slot.stem) for slot in term.slots)
            for words in texts
            for at, word in enumerate(words)
            if word not in STOP[self._language]
        )

    def _stands(self, words: list[str], at: int, one: str) -> bool:
        return (
            at < len(words)
            and words[at] not in STOP[self._language]
            and stem(words[at], self._language) == one
        )

    def _typo(self, word: str, other: str) -> bool:
        if abs(len(word) - len(other)) > 1 or sum(map(str.isalpha, word)) < 4:
            return False
        if (word, other) not in self._near:
            self._near[word, other] = distance(word, other) <= 1
        return self._near[word, other]


def _most(counts: Counter[str], at_most: int) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:at_most]
