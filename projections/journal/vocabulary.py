"""The words that each person has written: what a search looks through for stems and typos.

One row for each word of a person, from any of their entries. A word stays when the last entry with
it has gone: it then finds nothing. Words of private entries are among them; what is found through
them is the search's business.

Owns the table ``journal_vocabulary``, which only PostgreSQL's search needs.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.event import Event, Recorded
from domain.journal.events import EntryRevised, EntryWritten
from projections.engine.view import RowView
from projections.journal.asked import Asked, Term, fits, nearly_fits
from projections.journal.language import stem, words_of
from projections.reading import Query, Reader

# A word at one edit begins as the other one does, up to its middle, or ends so from there; but for
# two letters swapped in the middle. Ranges, as only such operators may use an index under row-level
# security.
LOOK_UP = {
    language: Query(
        f"journal_vocabulary_{language}",
        f"""
        SELECT word FROM journal_vocabulary
        WHERE user_id = $1 AND {language} = ANY ($2)
        UNION
        SELECT word FROM unnest($3, $4, $5, $6) AS near (first, past, back, past_back)
        JOIN journal_vocabulary v ON v.user_id = $1 AND v.word >= first AND v.word < past
        UNION
        SELECT word FROM unnest($3, $4, $5, $6) AS near (first, past, back, past_back)
        JOIN journal_vocabulary v
            ON v.user_id = $1 AND v.backwards >= back AND v.backwards < past_back
        UNION
        SELECT word FROM journal_vocabulary WHERE user_id = $1 AND word = ANY ($7)
        """,
        ("uuid", "text[]", "text[]", "text[]", "text[]", "text[]", "text[]"),
    )
    for language in ("en", "pt")
}
_LAST = "\U0010ffff"


class WordRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_vocabulary``: a folded word, its letters backwards, and its stems."""

    user_id: UUID
    word: str
    backwards: str
    en: str
    pt: str


class Vocabulary(RowView[WordRow]):
    """The view ``journal.vocabulary``."""

    name: ClassVar[str] = "journal.vocabulary"
    takes: ClassVar[tuple[type[Event], ...]] = (EntryWritten, EntryRevised)
    table: ClassVar[str] = "journal_vocabulary"
    row: ClassVar[type[msgspec.Struct]] = WordRow
    key: ClassVar[tuple[str, ...]] = ("user_id", "word")
    partitioned: ClassVar[bool] = False
    apart: ClassVar[bool] = True
    personal: ClassVar[tuple[str, ...]] = ("word", "backwards", "en", "pt")

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """Each different word of what the event says."""
        event: Any = recorded.event
        texts = (text for text in (event.title, event.content) if text is not UNSET)
        words = {word for text in texts for word in words_of(text)}
        return tuple((event.user_id, word) for word in sorted(words))

    def creates(self, recorded: Recorded) -> bool:
        """Never: an earlier entry may have the word."""
        return False

    def fold(self, key: tuple[Any, ...], row: WordRow | None, recorded: Recorded) -> WordRow | None:
        """The row as it is, or a new one."""
        if row is not None:
            return row
        user_id, word = key
        return WordRow(user_id, word, word[::-1], stem(word, "en"), stem(word, "pt"))


class Meant(msgspec.Struct, frozen=True):
    """The words of a person that a term means: for each slot those of its stem, and its typos."""

    slots: tuple[tuple[str, ...], ...]
    typos: tuple[str, ...]


async def meant(reader: Reader, user_id: UUID, asked: Asked) -> dict[Term, Meant]:
    """What each term of a search means in this person's words."""
    terms = (*asked.terms, *asked.without)
    if not terms:
        return {}
    stems = {slot.stem for term in terms for slot in term.slots}
    forgiving = [term.word for term in terms if term.word is not None and term.forgiving]
    heads = [word[: len(word) // 2] for word in forgiving]
    tails = [word[len(word) // 2 :][::-1] for word in forgiving]
    rows = await reader.rows(
        LOOK_UP[asked.language],
        user_id,
        list(stems),
        heads,
        [head + _LAST for head in heads],
        tails,
        [tail + _LAST for tail in tails],
        [_swapped(word, len(word) // 2) for word in forgiving],
        user_id=user_id,
    )
    words = [word for (word,) in rows]
    language = asked.language
    by_stem: dict[str, list[str]] = {}
    for word in words:
        by_stem.setdefault(stem(word, language), []).append(word)
    return {
        term: Meant(
            tuple(
                tuple(
                    word
                    for word in by_stem.get(slot.stem, ())
                    if fits(Term((msgspec.structs.replace(slot, after=0),)), word, language)
                )
                for slot in term.slots
            ),
            tuple(
                word
                for word in words
                if nearly_fits(term, word, language) and not fits(term, word, language)
            ),
        )
        for term in terms
    }


def _swapped(word: str, at: int) -> str:
    """The word with the letters before and after a place swapped."""
    return word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
