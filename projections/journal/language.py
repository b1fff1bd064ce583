"""Words of a diary: where they are in a text, and what is the same word.

One analyser for every store, so that a word is found in all of them or in none: lower-casing, ASCII
folding, stop words, and stemming in each language that a person may have. Pure; owns no index.

A word is a run of letters and digits, with an English ending after an apostrophe (``don't``); other
apostrophes and hyphens part words. Characters of scripts that are written without spaces are words
of their own. A possessive ``'s`` is no part of a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import Stemmer  # type: ignore[import-not-found]  # a C extension without types; wrapped below

from domain.journal.languages import Language

LANGUAGES: tuple[Language, ...] = ("en", "pt")

MAX_WORD = 100
"""Characters of a word that count: what is longer is no word that anybody looks for."""
TYPO_FROM = 4
"""Letters that a word needs for a typo in it to be forgiven: a year is not another year."""


def _marks() -> str:
    """Marks that combine with the letter before them, which alone are no letters."""
    codes = [code for code in range(0x300, 0xFFFF) if unicodedata.category(chr(code))[0] == "M"]
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges)


_ALONE = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(
    f"[{_ALONE}]|[^\\W_{_ALONE}](?:[^\\W_{_ALONE}]|[{_marks()}])*"
    "(?:['\u2019](?:s|t|re|ve|ll|d|m)\\b)?",
    re.IGNORECASE,
)
# The same in lower case where there is nothing but ASCII: three times as fast, and folded already.
_ASCII_WORD = re.compile(r"([a-z0-9]+(?:'(?:t|re|ve|ll|d|m)\b)?)(?:'s\b)?", re.ASCII)
_FOLDED = str.maketrans({
    "\u2019": "'", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th",
    "ł": "l", "ħ": "h", "ŧ": "t", "ŋ": "n", "ı": "i",
})  # fmt: skip

# The lists that search engines leave out by default for these languages, the Portuguese one without
# the forms of verbs: whoever looks for one of those means it.
STOP: dict[Language, frozenset[str]] = {
    "en": frozenset(
        "a an and are as at be but by for if in into is it no not of on or such that the their"
        " then there these they this to was will with".split()
    ),
    "pt": frozenset(
        "a ao aos aquela aquelas aquele aqueles aquilo as ate com como da das de dela delas dele"
        " deles depois do dos e ela elas ele eles em entre essa essas esse esses esta estas este"
        " estes eu foi isso isto ja lhe lhes mais mas me mesmo meu meus minha minhas muito na nas"
        " nao nem no nos nossa nossas nosso nossos num numa o os ou para pela pelas pelo pelos por"
        " qual quando que quem se sem seu seus so sua suas tambem te teu teus tu tua tuas um uma"
        " voce voces vos".split()
    ),
}
"""Words that are everywhere and so tell nothing, folded."""

_STEMMERS = {"en": Stemmer.Stemmer("english"), "pt": Stemmer.Stemmer("portuguese")}
# The stemmer leaves these plurals apart from their singulars once accents are gone.
_SINGULAR = (
    ("oes", "ao"), ("aes", "ao"), ("ais", "al"), ("eis", "el"), ("ois", "ol"), ("uis", "ul"),
    ("ns", "m"),
)  # fmt: skip


class Word(NamedTuple):
    """A word of a text: as it is compared, and where it stands."""

    word: str
    start: int
    end: int


def words_in(text: str) -> Iterator[Word]:
    """The words of a text in order."""
    for found in _WORD.finditer(text):
        word = fold(found[0])
        if word:
            yield Word(word, found.start(), found.end())


def words_of(text: str) -> list[str]:
    """The same words without their places: what folding many texts has the time for."""
    if text.isascii():
        words: list[str] = _ASCII_WORD.findall(text.lower())
        if max(map(len, words), default=0) <= MAX_WORD:
            return words
    return list(filter(None, map(fold, _WORD.findall(text))))


@lru_cache(50_000)
def fold(word: str) -> str:
    """A word in lower case and in ASCII where it has a form there, without a possessive ending."""
    if not word.isascii():
        parted = unicodedata.normalize("NFKD", word.lower().translate(_FOLDED))
        word = "".join(letter for letter in parted if not unicodedata.combining(letter))
    return word.lower().removesuffix("'s")[:MAX_WORD]


@lru_cache(50_000)
def stem(word: str, language: Language) -> str:
    """The stem of a folded word."""
    if language == "pt" and len(word) >= 5:
        for plural, singular in _SINGULAR:
            if word.endswith(plural):
                word = word.removesuffix(plural) + singular
                break
    stemmed: str = _STEMMERS[language].stemWord(word)
    return stemmed or word


def is_stop(word: str, language: Language) -> bool:
    """Whether a folded word tells nothing."""
    return word in STOP[language]


def language_of(text: str) -> Language:
    """The language of somebody's settings as this knows it; English where it does not."""
    return "pt" if text.lower().startswith("pt") else "en"


def one_edit(one: str, other: str) -> bool:
    """Whether two words differ by one letter swapped, added, lost or changed; not where equal."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1 or one == other:
        return False
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    if one[at + 1 :] == other[at + 1 :]:
        return True
    # They differ in more than the last letter, so that there is a next one.
    swapped = one[at] == other[at + 1] and one[at + 1] == other[at]
    return swapped and one[at + 2 :] == other[at + 2 :]
