"""The entries as a search finds them, and the search on PostgreSQL.

One row for each entry with its words as a ``tsvector``. Its lexemes are folded words, not stems, so
that they serve every language: which of a person's words are meant is looked up in their
vocabulary. A score counts where a word stands and how often, and nothing of other entries, so that
pages stay as they are while others are written.

Owns the table ``journal_search`` and the port ``Search``, which other stores implement, too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol
from uuid import UUID

import msgspec
from msgspec import UNSET

from domain.event import Event, Recorded
from domain.journal.entry import State, stream_of
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised, EntryWritten, Mood
from projections.engine.view import RowView
from projections.journal.asked import Place, Term, Wanted
from projections.journal.indexing import (
    ANY,
    NO_WORDS,
    OFTEN_,
    TITLE,
    WORD,
    analysed,
    mark_of,
    vector,
)
from projections.journal.vocabulary import Meant, meant
from projections.reading import Query, Reader

IN_A_TERM, TYPO, IN_TITLE, OFTEN = 2, -1, 3, 1
"""What a score is made of: for each word or phrase that is there, less where only with a typo, more
where it stands in the title, and more where a word comes often in the content."""
FACET_TAGS = 20
OUTSIDE = 1_000
"""Added to the view's version where its rows lie in a store outside."""

FIND = Query(
    "journal_search_find",
    "SELECT total, moods::text, tags::text, page::text FROM journal_search_find("
    "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
    # Rows that lie elsewhere are not found here: to say so is better than to find nothing.
    " WHERE coalesce((SELECT version FROM projection_checkpoints"
    f" WHERE name = 'journal.search' AND partition = 0), 0) < {OUTSIDE}",
    (
        *("text", "int4", "text[]", "int4[]", "text", "text[]", "date", "date", "bool"),
        *("int4", "date", "uuid", "int8"),
    ),
)
SHOW = Query(
    "journal_search_show",
    "SELECT entry_id, date, title, content, mood, tags FROM journal_search"
    " WHERE user_id = $1 AND entry_id = ANY ($2) AND state = 'active'",
    ("uuid", "uuid[]"),
)
LANGUAGE = Query(
    "journal_language", "SELECT language FROM accounts_people WHERE user_id = $1", ("uuid",)
)


class Hit(msgspec.Struct, frozen=True):
    """An entry that was found, with the text that highlights are made of."""

    entry_id: UUID
    date: datetime.date
    title: str
    content: str
    mood: Mood | None
    tags: list[str]
    score: int


class Count(msgspec.Struct, frozen=True):
    """A value of a facet."""

    value: str
    count: int


class Found(msgspec.Struct, frozen=True):
    """A page of hits, and what is said of all of them; ``end`` is where more hits go on."""

    total: int
    moods: list[Count]
    tags: list[Count]
    hits: list[Hit]
    end: Place | None


class Search(Protocol):
    """Finds a person's entries."""

    projections: tuple[str, ...]
    """What must have passed a write for the search to know it."""

    async def find(
        self, user_id: UUID, wanted: Wanted, *, after: Place | None, limit: int
    ) -> Found:
        """A page of hits by score, then date, descending.

        Raises:
            SearchUnavailable: the store does not answer.
        """
        ...


class SearchUnavailable(Exception):
    """The store of the search does not answer now."""


class SearchRow(msgspec.Struct, frozen=True, gc=False):
    """A row of ``journal_search``; ``words`` is a ``tsvector`` as the server sends it."""

    entry_id: UUID
    user_id: UUID
    date: datetime.date
    mood: Mood | None
    tags: list[str]
    is_private: bool
    state: State
    title: str
    content: str
    words: bytes


class Searchable(RowView[SearchRow]):
    """The view ``journal.search`` on PostgreSQL."""

    name: ClassVar[str] = "journal.search"
    takes: ClassVar[tuple[type[Event], ...]] = (
        EntryWritten,
        EntryRevised,
        EntryDeleted,
        EntryRestored,
    )
    table: ClassVar[str] = "journal_search"
    row: ClassVar[type[msgspec.Struct]] = SearchRow
    key: ClassVar[tuple[str, ...]] = ("entry_id",)
    apart: ClassVar[bool] = True
    personal: ClassVar[tuple[str, ...]] = ("tags", "title", "content", "words")

    def kept_in(self, store: Any) -> None:
        """Lie in a store outside: as another version, so that switching makes the rows anew there.

        In one partition: two indexes can be compared only where one position tells all of them.
        """
        self.outside = store
        vars(self).update(version=OUTSIDE + type(self).version, partitioned=False)

    def stream_of(self, key: tuple[Any, ...]) -> str | None:
        """The entry's stream."""
        return stream_of(key[0])

    def keys_of(self, recorded: Recorded) -> tuple[tuple[Any, ...], ...]:
        """The entry."""
        return ((recorded.event.entry_id,),)  # type: ignore[attr-defined]

    def fold(
        self, key: tuple[Any, ...], row: SearchRow | None, recorded: Recorded
    ) -> SearchRow | None:
        """The row after one more event; a deleted entry has no words, so that nothing finds it."""
        event: Any = recorded.event
        if type(event) is EntryWritten:
            return SearchRow(
                event.entry_id,
                event.user_id,
                event.date,
                event.mood,
                list(event.tags),
                event.is_private,
                "active",
                event.title,
                event.content,
                self._words(event.user_id, event.title, event.content),
            )
        if row is None:
            raise ValueError(f"{recorded.stream_id} does not begin with EntryWritten")
        if type(event) is EntryDeleted:
            return msgspec.structs.replace(
                row, state="deleted", words=b"" if self.outside else NO_WORDS
            )
        if type(event) is EntryRestored:
            words = self._words(row.user_id, row.title, row.content)
            return msgspec.structs.replace(row, state="active", words=words)
        title = row.title if event.title is UNSET else event.title
        content = row.content if event.content is UNSET else event.content
        same = (title, content) == (row.title, row.content)
        return SearchRow(
            row.entry_id,
            row.user_id,
            row.date if event.date is UNSET else event.date,
            row.mood if event.mood is UNSET else event.mood,
            row.tags if event.tags is UNSET else list(event.tags),
            row.is_private if event.is_private is UNSET else event.is_private,
            row.state,
            title,
            content,
            row.words if same else self._words(row.user_id, title, content),
        )

    def _words(self, user_id: UUID, title: str, content: str) -> bytes:
        """What only PostgreSQL needs."""
        return b"" if self.outside else vector(user_id, title, content)

    def document(self, row: SearchRow) -> dict[str, Any]:
        """The row as an index of documents has it, analysed."""
        fields = super().document(row)
        del fields["words"]
        if row.state == "active":
            fields |= analysed(row.user_id, row.title, row.content)
        return fields

    def row_of(self, document: dict[str, Any]) -> SearchRow:
        """The row without what was derived."""
        return super().row_of({**document, "words": ""})


class PostgresSearch:
    """``Search`` on the tables of this view and of the vocabulary."""

    projections: tuple[str, ...] = ("journal.search", "journal.vocabulary")

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def find(
        self, user_id: UUID, wanted: Wanted, *, after: Place | None, limit: int
    ) -> Found:
        """A page of hits."""
        asked = wanted.asked
        words = await meant(self._reader, user_id, asked)
        mark = mark_of(user_id)
        clauses = [_any_way(mark, words[term], term) for term in asked.terms]
        clauses = clauses or [_quoted(mark + ANY)]
        clauses += [f"!({_as_it_is(mark + WORD, words[term], term)})" for term in asked.without]
        bonuses = [
            bonus
            for term in asked.terms
            for bonus in _bonuses(mark, words[term], term, asked.language)
        ]
        rows = await self._reader.rows(
            FIND,
            " & ".join(clauses),
            IN_A_TERM * len(asked.terms),
            [query for query, _ in bonuses],
            [points for _, points in bonuses],
            wanted.mood,
            list(wanted.tags) or None,
            wanted.date_from,
            wanted.date_to,
            wanted.include_private,
            *((after.score, after.date, after.entry_id) if after else (None, None, None)),
            limit + 1,
            user_id=user_id,
        )
        if not rows:
            raise SearchUnavailable("the rows lie outside, or are on their way back")
        [row] = rows
        places = msgspec.json.decode(row[3], type=list[Place])
        return Found(
            row[0],
            _counts(row[1]),
            _counts(row[2]),
            await self._shown(user_id, places[:limit]),
            places[limit - 1] if len(places) > limit else None,
        )

    async def _shown(self, user_id: UUID, places: Sequence[Place]) -> list[Hit]:
        if not places:
            return []
        ids = [place.entry_id for place in places]
        found = await self._reader.rows(SHOW, user_id, ids, user_id=user_id)
        rows: dict[UUID, tuple[Any, ...]] = {row[0]: row for row in found}
        # What was deleted between the two questions is left out.
        return [
            Hit(*(*rows[place.entry_id], place.score)) for place in places if place.entry_id in rows
        ]


def _counts(rows: str) -> list[Count]:
    return [Count(*row) for row in msgspec.json.decode(rows, type=list[tuple[str, int]])]


_NOTHING = "nothing"
"""A lexeme that no entry has: all of theirs hold a mark and more."""


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("\\", "\\\\").replace("'", "''") + "'"


def _one_of(kind: str, words: Iterable[str]) -> str:
    return "(" + (" | ".join(_quoted(kind + word) for word in words) or _NOTHING) + ")"


def _as_it_is(kind: str, means: Meant, term: Term) -> str:
    """The word's stem, or the phrase with its gaps."""
    parts: list[str] = []
    for at, (slot, words) in enumerate(zip(term.slots, means.slots, strict=True)):
        if at:
            parts.append(f" <{slot.after - term.slots[at - 1].after}> ")
        parts.append(_one_of(kind, words))
    return "(" + "".join(parts) + ")"


def _any_way(mark: str, means: Meant, term: Term, kind: str = WORD) -> str:
    as_it_is = _as_it_is(mark + kind, means, term)
    return f"({as_it_is} | {_one_of(mark + kind, means.typos)})" if means.typos else as_it_is


def _bonuses(mark: str, means: Meant, term: Term, language: str) -> Iterable[tuple[str, int]]:
    yield _any_way(mark, means, term, TITLE), IN_TITLE
    if means.typos:
        typos = _one_of(mark + WORD, means.typos)
        yield f"{typos} & !{_as_it_is(mark + WORD, means, term)}", TYPO
    if term.word is not None:
        yield _quoted(f"{mark}{OFTEN_}{language}{term.slots[0].stem}"), OFTEN
