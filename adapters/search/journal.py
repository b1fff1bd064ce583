"""The journal's search on an index: ``projections.journal.search.Search``.

Owns the query. What matches and what a score is made of are those of the port, so that this finds
what PostgreSQL's search finds: each part of a score is a constant, nothing of other documents.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from adapters.search.client import async_client
from adapters.search.store import PREFIX
from domain.journal.languages import Language
from projections.journal.asked import Place, Term, Wanted
from projections.journal.indexing import GAP, mark_of
from projections.journal.search import (
    FACET_TAGS,
    IN_A_TERM,
    IN_TITLE,
    OFTEN,
    TYPO,
    Count,
    Found,
    Hit,
    Searchable,
    SearchUnavailable,
)

Query = dict[str, Any]

SHOWN = ["entry_id", "date", "title", "content", "mood", "tags"]
PARTS = ("title", "content")
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_DAY = 86_400_000


class IndexSearch:
    """Searches the index of the view on the server at ``url``."""

    projections: tuple[str, ...] = (Searchable.name,)

    def __init__(self, url: str, *, prefix: str = PREFIX) -> None:
        self._url = url
        self._index = prefix + Searchable.table
        self._made: AsyncElasticsearch | None = None

    @property
    def _client(self) -> AsyncElasticsearch:
        if self._made is None:  # on the loop that uses it
            self._made = async_client(self._url)
        return self._made

    async def close(self) -> None:
        """Give up connections."""
        if self._made is not None:
            await self._made.close()
            self._made = None

    async def answers(self) -> None:
        """Ask whether there is an index to search.

        Raises:
            SearchUnavailable: there is none, or nobody answers.
        """
        try:
            found = await self._client.indices.exists(index=self._index)
        except (TransportError, ApiError) as error:
            raise SearchUnavailable(type(error).__name__) from error
        if not found:
            raise SearchUnavailable("no index")

    async def find(
        self, user_id: UUID, wanted: Wanted, *, after: Place | None, limit: int
    ) -> Found:
        """A page of hits."""
        try:
            answer = await self._client.search(
                index=self._index,
                query=query_of(user_id, wanted),
                source={"includes": SHOWN},
                sort=[{"_score": "desc"}, {"date": "desc"}, {"entry_id": "desc"}],
                search_after=None if after is None else _values(after),
                size=limit + 1,
                track_total_hits=True,
                aggregations={
                    "moods": _facet("mood", 10),
                    "tags": _facet("tags", FACET_TAGS),
                },
            )
        except (TransportError, ApiError) as error:
            if isinstance(error, ApiError) and error.meta.status in (400, 413):
                raise  # a fault of ours
            raise SearchUnavailable(type(error).__name__) from error
        found = answer["hits"]["hits"]
        return Found(
            answer["hits"]["total"]["value"],
            _counts(answer["aggregations"]["moods"]),
            _counts(answer["aggregations"]["tags"]),
            [_hit(one["_source"], one["sort"]) for one in found[:limit]],
            _place(found[limit - 1]["sort"]) if len(found) > limit else None,
        )


def query_of(user_id: UUID, wanted: Wanted) -> Query:
    """The query of a search."""
    asked, mark = wanted.asked, mark_of(user_id)
    filters: list[Query] = [{"term": {"user_id": str(user_id)}}, {"term": {"state": "active"}}]
    if not wanted.include_private:
        filters.append({"term": {"is_private": False}})
    if wanted.mood is not None:
        filters.append({"term": {"mood": wanted.mood}})
    filters += [{"term": {"tags": tag}} for tag in wanted.tags]
    bounds = {"gte": wanted.date_from, "lte": wanted.date_to}
    given = {name: date.isoformat() for name, date in bounds.items() if date is not None}
    if given:
        filters.append({"range": {"date": given}})
    return {
        "bool": {
            "filter": filters,
            "must": [
                _worth(IN_A_TERM + TYPO, _anywhere(term, asked.language, mark, PARTS))
                for term in asked.terms
            ],
            "should": [
                part for term in asked.terms for part in _bonuses(term, asked.language, mark)
            ],
            "must_not": [
                {"bool": {"should": _as_it_is(term, asked.language, PARTS)}}
                for term in asked.without
            ],
        }
    }


def _bonuses(term: Term, language: Language, mark: str) -> Iterable[Query]:
    yield _worth(-TYPO, _as_it_is(term, language, PARTS))
    yield _worth(IN_TITLE, _anywhere(term, language, mark, ("title",)))
    if term.word is not None:
        yield _worth(OFTEN, [{"term": {f"{language}_often": term.slots[0].stem}}])


def _worth(points: int, either: list[Query]) -> Query:
    return {"constant_score": {"filter": {"bool": {"should": either}}, "boost": points}}


def _anywhere(term: Term, language: Language, mark: str, parts: Iterable[str]) -> list[Query]:
    """The term as it is or, where it forgives that, with a typo."""
    parts = tuple(parts)
    ways = _as_it_is(term, language, parts)
    if term.word is not None and term.forgiving:
        near = {
            "value": mark + term.word,
            "fuzziness": 1,
            "transpositions": True,
            "prefix_length": len(mark),
            "rewrite": "constant_score",
        }
        ways += [{"fuzzy": {f"{language}_{part}_words": near}} for part in parts]
    return ways


def _as_it_is(term: Term, language: Language, parts: Iterable[str]) -> list[Query]:
    """Its stem, or the phrase with its gaps, in one of the parts."""
    if len(term.slots) == 1:
        return [{"term": {f"{language}_{part}": term.slots[0].stem}} for part in parts]
    words = [GAP] * (term.slots[-1].after + 1)
    for slot in term.slots:
        words[slot.after] = slot.stem
    return [{"match_phrase": {f"{language}_{part}": " ".join(words)}} for part in parts]


def _facet(field: str, size: int) -> Query:
    return {"terms": {"field": field, "size": size, "order": [{"_count": "desc"}, {"_key": "asc"}]}}


def _counts(facet: Query) -> list[Count]:
    return [Count(one["key"], one["doc_count"]) for one in facet["buckets"]]


def _values(place: Place) -> list[Any]:
    days = place.date.toordinal() - _EPOCH
    return [place.score, days * _DAY, str(place.entry_id)]


def _place(values: list[Any]) -> Place:
    score, milliseconds, entry_id = values
    date = datetime.date.fromordinal(_EPOCH + milliseconds // _DAY)
    return Place(round(score), date, UUID(entry_id))


def _hit(source: dict[str, Any], values: list[Any]) -> Hit:
    return Hit(
        UUID(source["entry_id"]),
        datetime.date.fromisoformat(source["date"]),
        source["title"],
        source["content"],
        source["mood"],
        source["tags"],
        round(values[0]),
    )
