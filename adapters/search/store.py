"""Views whose rows are documents of an index: ``projections.engine.outside.Store``.

Each name is an alias of one index, so that names change places at once, as tables do by renaming.
What is in the documents, and that folding twice does no harm, is ``writer``'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec

from adapters.search.failing import answering
from adapters.search.writer import DOCUMENTS, SCROLL, Document, IndexWriter
from projections.engine.comparison import DIFFERENCES, Comparison, Difference, shown
from projections.engine.view import RowView

PREFIX = "mindstream-"
"""What the names of all indexes and aliases begin with."""

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


class IndexStore:
    """Indexes on the server at ``url``; ``mappings`` are by the names of views.

    ``prefix`` keeps two installations on one server apart.
    """

    def __init__(self, url: str, mappings: Mapping[str, Document], *, prefix: str = PREFIX) -> None:
        self._url = url
        self._mappings = dict(mappings)
        self._prefix = prefix
        self._client: Elasticsearch | None = None

    def __getstate__(self) -> Document:
        """What another process needs: it connects by itself."""
        return {**self.__dict__, "_client": None}

    @property
    def client(self) -> Elasticsearch:
        """The client, made when it is first needed."""
        if self._client is None:
            # It takes seconds to import, for which processes that never write need not wait.
            from adapters.search.client import client  # noqa: PLC0415

            self._client = client(self._url)
        return self._client

    def alias(self, name: str) -> str:
        """What the server calls an index."""
        return self._prefix + name

    def writer(self, view: RowView[Any], name: str) -> IndexWriter:
        """What writes into an index; what it wrote into the live one can be found at once."""
        return IndexWriter(self, view, name, found_at_once=name == view.table)

    def begin(self, view: RowView[Any], name: str) -> None:
        """Make an empty index, in the place of one that may be there."""
        self.drop(name)
        made = self._mappings[view.name]
        with answering():
            self.client.indices.create(
                index=f"{self.alias(name)}-{uuid4().hex[:12]}",
                settings=made["settings"],
                mappings=made["mappings"],
                aliases={self.alias(name): {}},
            )

    def drop(self, name: str) -> None:
        """Remove an index, if it is there."""
        with answering():
            for index in self._behind(name):
                self.client.indices.delete(index=index, ignore_unavailable=True)

    def swap(self, live: str, kept: str, chosen: str) -> None:
        """In one step: what was ``live`` is called ``kept``, and what was ``chosen`` is live."""
        with answering():
            actions: list[Document] = []
            for old, new in ((live, kept), (chosen, live)):
                for index in self._behind(old):
                    actions.append({"remove": {"index": index, "alias": self.alias(old)}})
                    actions.append({"add": {"index": index, "alias": self.alias(new)}})
            self.client.indices.update_aliases(actions=actions)

    def finish(self, name: str) -> None:
        """Let everything be found."""
        with answering():
            self.client.indices.refresh(index=self.alias(name))

    def count(self, view: RowView[Any], name: str, user_id: UUID | None = None) -> int:
        """How many documents there are, or how many of one person; 0 where there is no index."""
        query: Document = {"match_all": {}}
        if user_id is not None:
            query = {"term": {view.erases or "": str(user_id)}}
        with answering():
            if not self._behind(name):
                return 0
            self.client.indices.refresh(index=self.alias(name))
            return int(self.client.count(index=self.alias(name), query=query)["count"])

    def purge(self, view: RowView[Any], name: str, users: Sequence[UUID], position: int) -> int:
        """Delete these people's documents; how many there were."""
        with answering():
            if not self._behind(name):
                return 0
        writer = IndexWriter(self, view, name, found_at_once=True)
        return writer.purge(dict.fromkeys(users, position))

    def snapshot(self, view: RowView[Any], name: str) -> IndexSnapshot:
        """An index as it is now, to be read in the order of its keys."""
        with answering():
            if not self._behind(name):
                return IndexSnapshot(self, None)
            self.client.indices.refresh(index=self.alias(name))
            first = self.client.search(
                index=self.alias(name), scroll=SCROLL, size=DOCUMENTS, sort=list(view.key)
            )
        return IndexSnapshot(self, first.body)

    def compare(
        self,
        view: RowView[Any],
        live: IndexSnapshot,
        expected: IndexSnapshot,
        position: int,
        tick: Callable[[], None],
    ) -> Comparison:
        """Compare two indexes, document by document."""
        sums = [hashlib.md5(usedforsecurity=False) for _ in range(2)]
        rows = [0, 0]
        differences: list[Difference] = []
        for key, both in _side_by_side(view, live, expected, tick):
            for at, row in enumerate(both):
                if row is not None:
                    rows[at] += 1
                    sums[at].update(msgspec.json.encode(row, order="sorted"))
            if both[0] != both[1] and len(differences) < DIFFERENCES:
                differences.append(Difference(key, shown(view, both[0]), shown(view, both[1])))
        return Comparison(
            position,
            rows[0],
            rows[1],
            sums[0].hexdigest(),
            sums[1].hexdigest(),
            differences,
            emptied=rows[0] == 0,
        )

    def _behind(self, name: str) -> list[str]:
        """The index that an alias stands for, if there is one."""
        alias = self.alias(name)
        if not self.client.indices.exists_alias(name=alias):
            return []
        return list(self.client.indices.get_alias(name=alias).body)


class IndexSnapshot:
    """An index at one moment: what a scroll gives."""

    def __init__(self, store: IndexStore, first: Document | None) -> None:
        self._store = store
        self._page = first
        self._scroll = None if first is None else first["_scroll_id"]

    def rows(self) -> Iterator[Document]:
        """Its documents without their positions, in the order of their keys."""
        while self._page is not None and self._page["hits"]["hits"]:
            for hit in self._page["hits"]["hits"]:
                yield {name: it for name, it in hit["_source"].items() if name != "position"}
            with answering():
                page = self._store.client.scroll(scroll_id=self._scroll, scroll=SCROLL)
            self._page = page.body

    def close(self) -> None:
        """Give it up."""
        if self._scroll is not None:
            with answering():
                self._store.client.clear_scroll(scroll_id=self._scroll)
            self._scroll = None


def _side_by_side(
    view: RowView[Any], live: IndexSnapshot, expected: IndexSnapshot, tick: Callable[[], None]
) -> Iterator[tuple[str, tuple[Document | None, Document | None]]]:
    """Both indexes' rows by their keys, None where one has none."""
    ours, theirs = live.rows(), expected.rows()
    one, other = next(ours, None), next(theirs, None)
    number = 0
    while one is not None or other is not None:
        keys = [None if row is None else _key(view, row) for row in (one, other)]
        key = min(each for each in keys if each is not None)
        yield key, (one if keys[0] == key else None, other if keys[1] == key else None)
        if keys[0] == key:
            one = next(ours, None)
        if keys[1] == key:
            other = next(theirs, None)
        number += 1
        if number % DOCUMENTS == 0:
            tick()


def _key(view: RowView[Any], row: Document) -> str:
    return "/".join(str(row[name]) for name in view.key)
