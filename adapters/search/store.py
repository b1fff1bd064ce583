"""Views whose rows are documents of an index: ``projections.engine.outside.Store``.

Each name is an alias of one index, so that names change places at once, as tables do by renaming.
A document is its row, what the view derives from it, and ``position``, that of its last event,
which is its external version too: an event that a document has is not folded again, and a late
writer changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec

from domain.event import Recorded
from projections.engine.comparison import DIFFERENCES, Comparison, Difference, shown
from projections.engine.outside import StoreUnavailable, parted
from projections.engine.view import RowView
from projections.engine.writer import USERS_NAMED

PREFIX = "mindstream-"
"""What the names of all indexes and aliases begin with."""
DOCUMENTS = 1_000
"""Documents that are read in one request."""
WRITTEN = 250
"""Documents that are written in one request."""
SCROLL = "5m"

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Document = dict[str, Any]


class Refused(Exception):
    """The store takes a document for wrong: what made it is at fault, not the store."""


@contextmanager
def _answering() -> Iterator[None]:
    """Tell a store that is away from a fault of ours; neither error quotes a document."""
    from elastic_transport import ConnectionTimeout, TransportError  # noqa: PLC0415 - see client
    from elasticsearch import ApiError, NotFoundError  # noqa: PLC0415

    try:
        yield
    except ConnectionTimeout as error:
        raise StoreUnavailable("the search store took too long") from error
    except TransportError as error:
        raise StoreUnavailable("the search store does not answer") from error
    except NotFoundError as error:
        raise StoreUnavailable("the search store has no such index: rebuild it") from error
    except ApiError as error:
        if error.meta.status == 429 or error.meta.status >= 500:
            raise StoreUnavailable(f"the search store answers {error.meta.status}") from error
        raise Refused(f"the search store answers {error.meta.status}") from None


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
        with _answering():
            self.client.indices.create(
                index=f"{self.alias(name)}-{uuid4().hex[:12]}",
                settings=made["settings"],
                mappings=made["mappings"],
                aliases={self.alias(name): {}},
            )

    def drop(self, name: str) -> None:
        """Remove an index, if it is there."""
        with _answering():
            for index in self._behind(name):
                self.client.indices.delete(index=index, ignore_unavailable=True)

    def swap(self, live: str, kept: str, chosen: str) -> None:
        """In one step: what was ``live`` is called ``kept``, and what was ``chosen`` is live."""
        with _answering():
            actions: list[Document] = []
            for old, new in ((live, kept), (chosen, live)):
                for index in self._behind(old):
                    actions.append({"remove": {"index": index, "alias": self.alias(old)}})
                    actions.append({"add": {"index": index, "alias": self.alias(new)}})
            self.client.indices.update_aliases(actions=actions)

    def finish(self, name: str) -> None:
        """Let everything be found."""
        with _answering():
            self.client.indices.refresh(index=self.alias(name))

    def count(self, view: RowView[Any], name: str, user_id: UUID | None = None) -> int:
        """How many documents there are, or how many of one person; 0 where there is no index."""
        query: Document = {"match_all": {}}
        if user_id is not None:
            query = {"term": {view.erases or "": str(user_id)}}
        with _answering():
            if not self._behind(name):
                return 0
            self.client.indices.refresh(index=self.alias(name))
            return int(self.client.count(index=self.alias(name), query=query)["count"])

    def purge(self, view: RowView[Any], name: str, users: Sequence[UUID], position: int) -> int:
        """Delete these people's documents; how many there were."""
        with _answering():
            if not self._behind(name):
                return 0
        writer = IndexWriter(self, view, name, found_at_once=True)
        return writer.purge(dict.fromkeys(users, position))

    def snapshot(self, view: RowView[Any], name: str) -> IndexSnapshot:
        """An index as it is now, to be read in the order of its keys."""
        with _answering():
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
            with _answering():
                page = self._store.client.scroll(scroll_id=self._scroll, scroll=SCROLL)
            self._page = page.body

    def close(self) -> None:
        """Give it up."""
        if self._scroll is not None:
            with _answering():
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


class IndexWriter:
    """Writes a view into an index."""

    def __init__(
        self, store: IndexStore, view: RowView[Any], name: str, *, found_at_once: bool
    ) -> None:
        self.view = view
        self._store = store
        self._alias = store.alias(name)
        self._found_at_once = found_at_once

    def apply(self, events: Iterable[Recorded], *, careful: bool = False) -> set[UUID] | None:
        """Fold the events into the index; whose rows changed, None being too many to name."""
        left, erased = parted(events)
        if erased and self.view.erases is not None:
            self.purge(erased)
        users = self._fold(left, careful) | set(erased)
        return users if len(users) <= USERS_NAMED else None

    def replace(self, key: tuple[Any, ...], row: Any | None) -> None:
        """Put this row, or none, in the place of whatever the key has."""
        name = _id(key)
        with _answering():
            found = self._store.client.mget(index=self._alias, ids=[name])["docs"][0]
        # Somebody who changed it by hand has counted its version up; its position says more.
        version = found.get("_version", 1)
        position = found.get("_source", {}).get("position", 1)
        self._write({name: (row, position)}, at_least=version)

    def forget_staging(self) -> None:
        """Nothing is staged: what was written is skipped when it is folded again."""

    def purge(self, erased: Mapping[UUID, int]) -> int:
        """Delete the documents of people who were erased, each at a position; how many."""
        column = self.view.erases or ""
        gone: dict[str, tuple[Any, int]] = {}
        with _answering():
            self._store.client.indices.refresh(index=self._alias)
            page = self._store.client.search(
                index=self._alias,
                query={"terms": {column: [str(user) for user in erased]}},
                source={"includes": [column, "position"]},
                size=DOCUMENTS,
                scroll=SCROLL,
            )
            while hits := page["hits"]["hits"]:
                for hit in hits:
                    at = erased[UUID(hit["_source"][column])]
                    gone[hit["_id"]] = None, max(at, hit["_source"]["position"])
                page = self._store.client.scroll(scroll_id=page["_scroll_id"], scroll=SCROLL)
            self._store.client.clear_scroll(scroll_id=page["_scroll_id"])
        self._write(gone)
        return len(gone)

    def _fold(self, events: Sequence[Recorded], careful: bool) -> set[UUID]:
        view = self.view
        touched = [(_id(key), key, one) for one in events for key in view.keys_of(one)]
        unknown = {key for key, _, one in touched if careful or not view.creates(one)}
        known = self._load(sorted(unknown))
        rows: dict[str, tuple[Any, int]] = dict(known)
        users: set[UUID] = set()
        for name, key, one in touched:
            row, position = rows.get(name, (None, 0))
            if one.position <= position:
                continue  # written before a crash, or by whoever took over
            changed = view.fold(key, row, one)
            rows[name] = changed, one.position
            users.update(view.user_of(each) for each in (row, changed) if each is not None)
        self._write({name: rows[name] for name in rows if rows[name] is not known.get(name)})
        return users

    def _load(self, names: Sequence[str]) -> dict[str, tuple[Any, int]]:
        """Rows and positions of documents, as they are now, refreshed or not."""
        found: dict[str, tuple[Any, int]] = {}
        for at in range(0, len(names), DOCUMENTS):
            with _answering():
                answer = self._store.client.mget(
                    index=self._alias, ids=list(names[at : at + DOCUMENTS])
                )
            for one in answer["docs"]:
                if "error" in one:
                    raise StoreUnavailable("the search store has no such index: rebuild it")
                if one["found"]:
                    document = one["_source"]
                    position = document.pop("position", one["_version"])
                    found[one["_id"]] = self.view.row_of(document), position
        return found

    def _write(self, rows: Mapping[str, tuple[Any, int]], at_least: int = 1) -> None:
        """Write or delete documents at their positions; what is newer there stays."""
        names = list(rows)
        for at in range(0, len(names), WRITTEN):
            operations: list[Document] = []
            for name in names[at : at + WRITTEN]:
                row, position = rows[name]
                version = max(position, at_least)
                about = {"_id": name, "version": version, "version_type": "external_gte"}
                if row is None:
                    operations.append({"delete": about})
                else:
                    operations += [
                        {"index": about}, {**self.view.document(row), "position": position},
                    ]  # fmt: skip
            with _answering():
                answer = self._store.client.bulk(
                    index=self._alias,
                    operations=operations,
                    require_alias=True,
                    refresh=self._found_at_once,
                )
            if answer["errors"]:
                _judge(answer["items"])


def _judge(items: Iterable[Document]) -> None:
    """Raise for what was not written, but for documents that are newer, or gone already."""
    for item in items:
        [one] = item.values()
        if "error" not in one or one["status"] == 409:
            continue
        if one["status"] == 404:
            raise StoreUnavailable("the search store has no such index: rebuild it")
        if one["status"] == 429 or one["status"] >= 500:
            raise StoreUnavailable(f"the search store answers {one['status']}")
        raise Refused(f"the search store refuses a document: {one['error'].get('type')}")


def _id(key: tuple[Any, ...]) -> str:
    return "/".join(map(str, key))
