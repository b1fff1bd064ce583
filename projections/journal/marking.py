"""What a hit shows: its title and pieces of its content, with the words that were asked for marked.

The same for every store, which need only say which entries they found. Pure.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import msgspec

from projections.journal.asked import Asked, fits, nearly_fits
from projections.journal.language import Word, stem, words_in

PIECES = 3
"""Pieces of the content that are shown at most."""
AROUND = 70
"""Characters around a marked word that are shown with it, about."""


class Highlights(msgspec.Struct, frozen=True):
    """Pieces of HTML: ``<mark>`` around each word that was found, everything else escaped."""

    title: list[str]
    content: list[str]


class Marker:
    """Marks the hits of one search; each different word is judged once."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._words = [term for term in asked.terms if len(term.slots) == 1]
        self._phrases = [term for term in asked.terms if len(term.slots) > 1]
        self._judged: dict[str, bool] = {}

    def highlights(self, title: str, content: str) -> Highlights:
        """The whole title and pieces of the content, each only if something in it is marked."""
        in_title, in_content = self.marked(title), self.marked(content)
        return Highlights(
            [_html(title, 0, len(title), in_title)] if in_title else [],
            [_html(content, *piece) for piece in _pieces(content, in_content)],
        )

    def marked(self, text: str) -> list[Word]:
        """The words that were asked for, in order; those of a phrase only where it stands."""
        if not self._asked.terms:
            return []
        words = list(words_in(text))
        found: set[int] = set()
        if self._words:
            found.update(at for at, each in enumerate(words) if self._is_one(each.word))
        if self._phrases:
            stems = [stem(each.word, self._asked.language) for each in words]
            for term in self._phrases:
                first, *rest = term.slots
                for at, one in enumerate(stems):
                    if one == first.stem and all(
                        at + slot.after < len(stems) and stems[at + slot.after] == slot.stem
                        for slot in rest
                    ):
                        found.update(at + slot.after for slot in term.slots)
        return [words[at] for at in sorted(found)]

    def _is_one(self, word: str) -> bool:
        judged = self._judged.get(word)
        if judged is None:
            language = self._asked.language
            judged = self._judged[word] = any(
                fits(term, word, language) or nearly_fits(term, word, language)
                for term in self._words
            )
        return judged


def _pieces(text: str, words: Sequence[Word]) -> list[tuple[int, int, list[Word]]]:
    """From where to where the pieces go, and the words that are marked in each."""
    pieces: list[tuple[int, int, list[Word]]] = []
    for word in words:
        if pieces and word.start <= pieces[-1][1]:
            start, end, within = pieces[-1]
            within.append(word)
            pieces[-1] = (start, max(end, word.end), within)
            continue
        if len(pieces) == PIECES:
            break
        first = pieces[-1][1] if pieces else 0
        pieces.append((_begin(text, word.start, first), _end(text, word.end), [word]))
    return pieces


def _begin(text: str, at: int, first: int) -> int:
    """Where a piece begins: between two words where there is such a place."""
    start = max(first, at - AROUND)
    if start == 0:
        return 0
    space = text.find(" ", start, at)
    return space + 1 if space >= 0 else start


def _end(text: str, at: int) -> int:
    end = min(len(text), at + AROUND)
    if end == len(text):
        return end
    space = text.rfind(" ", at, end)
    return space if space >= 0 else end


def _html(text: str, start: int, end: int, words: Sequence[Word]) -> str:
    parts: list[str] = []
    for word in words:
        parts.append(html.escape(text[start : word.start]))
        parts.append(f"<mark>{html.escape(text[word.start : word.end])}</mark>")
        start = word.end
    parts.append(html.escape(text[start:end]))
    return "".join(parts)
