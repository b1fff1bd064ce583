"""The search of a person's journal over HTTP.

Owns the translation between requests and the port ``projections.journal.search.Search``.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import require
from adapters.http.cursors import Cursors
from adapters.http.envelope import PageMeta
from adapters.http.handlers import get
from adapters.http.operation import Operation
from adapters.http.problems import Problem, invalid, register, retry_after
from adapters.http.responses import Answer, ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, query
from domain.faults import Fault
from domain.journal.events import Mood
from domain.journal.languages import Language
from projections.journal.asked import MAX_Q, MAX_TERMS, Place, Wanted, understand
from projections.journal.language import language_of
from projections.journal.marking import Highlights, Marker
from projections.journal.search import LANGUAGE, Count, Hit, Search, SearchUnavailable
from projections.reading import Freshness, Reader
from read_api.fresh import fresh
from read_api.journal import PERMISSION, TAGS

AnyRequest = Request[Any, Any, Any]

PEOPLE = "accounts.people"
"""The projection that knows a person's language."""
LONG = 20_000
"""Characters that take some milliseconds to look through."""
COME_BACK = 5
"""Seconds after which a search that was not available is worth another try."""

_SEARCH = "/v1/journal/search"

register(
    "SEARCH_UNAVAILABLE",
    503,
    "The search does not answer",
    (
        "The store that entries are searched in is away. Everything else works, nothing is lost,"
        " and what is written meanwhile will be found. Repeat the request after `Retry-After`."
    ),
)


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the search: both dates inclusive, all of the tags."""

    q: Annotated[str, msgspec.Meta(max_length=MAX_Q)] = ""
    mood: Mood | None = None
    tag: tuple[str, ...] = ()
    date_from: datetime.date | None = None
    date_to: datetime.date | None = None
    include_private: bool = False
    cursor: str | None = None
    limit: Limit = DEFAULT_LIMIT


class SearchHit(msgspec.Struct, frozen=True):
    """An entry that was found; ``highlights`` are HTML."""

    entry_id: UUID
    date: datetime.date
    title: str
    mood: Mood | None
    tags: list[str]
    score: float
    highlights: Highlights


class Facets(msgspec.Struct, frozen=True):
    """Counts over all hits: moods that occur, and the tags used most."""

    moods: list[Count]
    tags: list[Count]


class SearchMeta(PageMeta, frozen=True):
    """What a search adds to its page."""

    total: int
    facets: Facets


def routes(
    reader: Reader, search: Search, freshness: Freshness, cursors: Cursors
) -> list[HTTPRouteHandler]:
    """The handler; ``reader`` is asked for the person's language."""

    @get(
        _SEARCH,
        opt={
            "operation": Operation(
                summary="Find entries",
                description=(
                    'Words, "phrases" and -exclusions. All words must be there, in title or'
                    " content; one of four letters or more may have one typo. A repeated tag means"
                    " all of them. Private entries are found only with `include_private`. The"
                    " facets count all hits: moods that occur, and the 20 most used tags."
                ),
                tags=TAGS,
                response=SearchHit,
                page=True,
                meta=SearchMeta,
                query=SearchQuery,
                problems=("INVALID_CURSOR", "SEARCH_UNAVAILABLE"),
                permission=PERMISSION,
                fresh=True,
                operation_id="search_entries",
            )
        },
    )
    async def search_entries(request: AnyRequest) -> Answer:
        user_id = require(request, PERMISSION).user_id
        asked = query(request, SearchQuery)
        binding = msgspec.structs.astuple(asked)[:-2]  # all but cursor and limit
        after = None
        if asked.cursor is not None:
            after = cursors.open(_SEARCH, user_id, asked.cursor, binding, Place)
        position = await fresh(request, freshness, *search.projections, PEOPLE)
        wanted = wanted_by(asked, await _language(user_id))
        try:
            found = await search.find(user_id, wanted, after=after, limit=asked.limit)
        except SearchUnavailable:
            raise Problem("SEARCH_UNAVAILABLE", headers=retry_after(COME_BACK)) from None
        cursor = None
        if found.end is not None:
            cursor = cursors.seal(_SEARCH, user_id, msgspec.structs.astuple(found.end), binding)
        return ok(
            request,
            await _marked(found.hits, wanted),
            message="Entries",
            token=position,
            meta=SearchMeta(cursor, asked.limit, found.total, Facets(found.moods, found.tags)),
        )

    async def _language(user_id: UUID) -> Language:
        rows = await reader.rows(LANGUAGE, user_id, user_id=user_id)
        return language_of(rows[0][0]) if rows else "en"

    return [search_entries]


def wanted_by(asked: SearchQuery, language: Language) -> Wanted:
    """What the parameters ask for, to somebody of this language.

    Raises:
        Problem: 422, there are too many words.
    """
    meaning = understand(asked.q, language)
    if len(meaning.terms) + len(meaning.without) > MAX_TERMS:
        message = f"This may have at most {MAX_TERMS} words, phrases and exclusions."
        raise invalid(Fault("q", "too_long", message))
    return Wanted(
        asked=meaning,
        mood=asked.mood,
        tags=tuple(tag.strip().lower() for tag in asked.tag),
        date_from=asked.date_from,
        date_to=asked.date_to,
        include_private=asked.include_private,
    )


async def _marked(hits: list[Hit], wanted: Wanted) -> list[SearchHit]:
    """The hits with their highlights; long texts are looked through beside the event loop."""
    marker = Marker(wanted.asked)

    def mark() -> list[SearchHit]:
        return [_shown(hit, marker) for hit in hits]

    if sum(len(hit.content) for hit in hits) > LONG:
        return await asyncio.to_thread(mark)
    return mark()


def _shown(hit: Hit, marker: Marker) -> SearchHit:
    return SearchHit(
        hit.entry_id,
        hit.date,
        hit.title,
        hit.mood,
        hit.tags,
        float(hit.score),
        marker.highlights(hit.title, hit.content),
    )
