"""Writing a view into an index: load what a batch touches, fold in memory, write what changed.

A document is its row, what the view derives from it, and ``position``, that of its last event,
which is its external version too: an event that a document has is not folded again, and a late
writer changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from adapters.search.failing import Refused, answering
from domain.event import Recorded
from projections.engine.erasure import parted
from projections.engine.outside import StoreUnavailable
from projections.engine.view import RowView
from projections.engine.writer import USERS_NAMED

if TYPE_CHECKING:
    from adapters.search.store import IndexStore

DOCUMENTS = 1_000
"""Documents that are read in one request."""
WRITTEN = 250
"""Documents that are written in one request."""
SCROLL = "5m"

Document = dict[str, Any]


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
        with answering():
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
        with answering():
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
            with answering():
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
            with answering():
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
