"""What a hit shows: its title and pieces of its content, with the words that were asked for marked.

The same for every store, which need only say which entries they found. Pure.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import msgspec

from projections.journal.asked import Asked, Term, fits, nearly_fits
from projections.journal.language import Word, stem, words_in

PIECES = 3
"""Pieces of the content that are shown at most."""
AROUND = 70
"""Characters around a marked word that are shown with it, about."""


class Highlights(msgspec.Struct, frozen=True):
    """Pieces of HTML: ``<mark>`` around each word that was found, everything else escaped."""

    title: list[str]
    content: list[str]


def highlights(asked: Asked, title: str, content: str) -> Highlights:
    """The whole title and some pieces of the content, each only if something in it is marked."""
    in_title = marked(asked, title)
    in_content = marked(asked, content)
    pieces = [
        _html(content, start, end, within) for start, end, within in _pieces(content, in_content)
    ]
    return Highlights([_html(title, 0, len(title), in_title)] if in_title else [], pieces)


def marked(asked: Asked, text: str) -> list[Word]:
    """The words of a text that were asked for, in order; those of a phrase only where it stands."""
    if not asked.terms:
        return []
    words = list(words_in(text))
    stems = [stem(each.word, asked.language) for each in words]
    found: set[int] = set()
    for term in asked.terms:
        if len(term.slots) == 1:
            found.update(at for at, each in enumerate(words) if _is(term, each.word, asked))
        else:
            for at in range(len(words)):
                if all(
                    at + slot.after < len(words) and stems[at + slot.after] == slot.stem
                    for slot in term.slots
                ):
                    found.update(at + slot.after for slot in term.slots)
    return [words[at] for at in sorted(found)]


def _is(term: Term, word: str, asked: Asked) -> bool:
    return fits(term, word, asked.language) or nearly_fits(term, word, asked.language)


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
