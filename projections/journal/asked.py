"""What a person asks a search: ``q`` as words, phrases and exclusions, and the filters.

Owns the language of ``q`` and which words of a diary fit which word of it. Nothing of it is an
error but its length: what cannot be understood means nothing, as in any search box.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator
from uuid import UUID

import msgspec

from domain.journal.events import Mood
from domain.journal.languages import Language
from projections.journal.language import (
    TYPO_FROM,
    is_stop,
    one_edit,
    stem,
    words_of,
)

MAX_Q = 1_000
"""Characters of ``q``."""
MAX_TERMS = 50
"""Words, phrases and exclusions in one ``q``."""

# A phrase in its quotation marks, or what stands between white space; each may be excluded.
_PART = re.compile(r'(?P<minus>(?<!\S)-)?(?:"(?P<phrase>[^"]*)"|(?P<chunk>[^\s"]+))')
_QUOTES = str.maketrans("\u201c\u201d\u201e\u201f", '""""')


class Slot(msgspec.Struct, frozen=True):
    """A word of a phrase: its ``stem``, and how many words after the first one it stands."""

    stem: str
    after: int


class Term(msgspec.Struct, frozen=True):
    """A word, which may have typos, or a phrase, which may not and whose stop words are gaps."""

    slots: tuple[Slot, ...]
    word: str | None = None
    """The word as it was asked for, folded; None for a phrase."""

    @property
    def forgiving(self) -> bool:
        """Whether a word at one edit is meant as well."""
        return self.word is not None and sum(map(str.isalpha, self.word)) >= TYPO_FROM


class Asked(msgspec.Struct, frozen=True):
    """``q`` understood in a language: all of ``terms``, none of ``without``."""

    language: Language
    terms: tuple[Term, ...] = ()
    without: tuple[Term, ...] = ()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A search: both dates inclusive, all of the tags, private entries only where included."""

    asked: Asked
    mood: Mood | None = None
    tags: tuple[str, ...] = ()
    date_from: datetime.date | None = None
    date_to: datetime.date | None = None
    include_private: bool = False


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a hit stands in the order: by score, then date, descending; the id breaks ties."""

    score: int
    date: datetime.date
    entry_id: UUID


def understand(q: str, language: Language) -> Asked:
    """What ``q`` means. A quotation mark without a partner means nothing.

    Words that a hyphen or the like joins are words of their own; excluded, they are a phrase.
    """
    q = q.translate(_QUOTES)
    if q.count('"') % 2:
        last = q.rindex('"')
        q = f"{q[:last]} {q[last + 1 :]}"
    terms: dict[Term, None] = {}
    without: dict[Term, None] = {}
    for part in _PART.finditer(q):
        phrase = part["phrase"] is not None
        words = words_of(part["phrase"] if phrase else part["chunk"])
        if part["minus"]:
            without.update(dict.fromkeys(_phrase(words, language)))
        elif phrase:
            terms.update(dict.fromkeys(_phrase(words, language)))
        else:
            terms.update(dict.fromkeys(_words(words, language)))
    return Asked(language, tuple(terms), tuple(without))


def _words(words: Iterable[str], language: Language) -> Iterator[Term]:
    for word in words:
        if not is_stop(word, language):
            yield Term((Slot(stem(word, language), 0),), word)


def _phrase(words: Iterable[str], language: Language) -> Iterator[Term]:
    """The phrase, if anything is left of it: stop words at its ends stand for nothing."""
    at = [(at, word) for at, word in enumerate(words) if not is_stop(word, language)]
    if at:
        first = at[0][0]
        yield Term(tuple(Slot(stem(word, language), number - first) for number, word in at))


def fits(term: Term, word: str, language: Language) -> bool:
    """Whether a word of a diary, folded, is the one that is asked for, by its stem."""
    return not is_stop(word, language) and stem(word, language) == term.slots[0].stem


def nearly_fits(term: Term, word: str, language: Language) -> bool:
    """Whether it is at one edit from a word that forgives that."""
    return (
        term.word is not None
        and term.forgiving
        and not is_stop(word, language)
        and one_edit(term.word, word)
    )
