"""The ZIP of an export: written as it comes, whatever its length."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from domain.event import Event, Recorded
from domain.journal.entry import stream_of
from domain.journal.events import EntryDeleted, EntryWritten
from projections.reading import Query
from workers.exports import bundle as bundles
from workers.exports.bundle import Bundle
from workers.exports.journal import Journal
from workers.exports.sources import AT_ONCE, File, Listing, Owner, each, streams_of

pytestmark = pytest.mark.anyio

NOW = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
USER, OTHER = UUID(int=1), UUID(int=2)
OWNER = Owner(USER, USER, NOW)


class Kept:
    """Takes pieces, and keeps them if it is to."""

    def __init__(self, *, keep: bool = True) -> None:
        self.sizes: list[int] = []
        self.items = 0
        self._keep = keep
        self._raw = bytearray()

    async def piece(self, data: bytes) -> None:
        self.sizes.append(len(data))
        if self._keep:
            self._raw += data

    async def counted(self) -> None:
        self.items += 1

    @property
    def raw(self) -> bytes:
        return bytes(self._raw)


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def bundled(*parts: Any) -> tuple[Kept, Bundle]:
    kept = Kept()
    bundle = Bundle(OWNER, 7, kept.piece, kept.counted)
    await bundle.begin()
    for part in parts:
        await bundle.add(part)
    await bundle.end()
    return kept, bundle


@pytest.mark.parametrize("piece", [1, 7, 100, 1_000_000])
async def test_whatever_the_pieces_it_is_one_zip(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "PIECE", piece)
    text = "日記 🙂 " * 200
    kept, bundle = await bundled(
        Listing("a/list.json", "A list.", each([{"n": n, "text": text} for n in range(5)])),
        Listing("a/none.json", "An empty one.", each([])),
        File("b/file.bin", "Bytes.", pieces(b"\x00\xff" * 500, b"", b"end")),
        File("b/empty.bin", "No bytes.", pieces()),
    )
    assert all(size == piece for size in kept.sizes[:-1])
    assert (bundle.size_bytes, bundle.sha256) == (
        len(kept.raw),
        hashlib.sha256(kept.raw).hexdigest(),
    )
    opened = zipfile.ZipFile(io.BytesIO(kept.raw))
    assert opened.testzip() is None
    assert json.loads(opened.read("a/list.json")) == [{"n": n, "text": text} for n in range(5)]
    assert json.loads(opened.read("a/none.json")) == []
    assert opened.read("b/file.bin") == b"\x00\xff" * 500 + b"end"
    assert opened.read("b/empty.bin") == b""
    assert opened.getinfo("b/file.bin").date_time == (2026, 3, 1, 12, 0, 0)
    manifest = json.loads(opened.read("manifest.json"))
    assert {entry["path"]: entry["items"] for entry in manifest["files"]} == {
        "README.txt": None,
        "a/list.json": 5,
        "a/none.json": 0,
        "b/file.bin": None,
        "b/empty.bin": None,
    }
    assert manifest["position"] == 7


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "a//b", "", "README.txt"])
async def test_paths_that_lead_elsewhere_or_are_taken_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        await bundled(File(path, "Bytes.", pieces(b"x")))


def written(number: int, user_id: UUID = USER, words: int = 10) -> EntryWritten:
    return EntryWritten(
        entry_id=UUID(int=number),
        user_id=user_id,
        date=datetime.date(2000, 1, 1),
        title="t",
        content=f"word{number} " * words,
        mood=None,
        location=None,
        weather=None,
        tags=(),
        is_private=False,
        word_count=words,
    )


class Made:
    """An event store that makes up what it is asked for."""

    def __init__(self, foreign: frozenset[int] = frozenset()) -> None:
        self.most = 0
        self._foreign = foreign

    async def read_many(self, stream_ids: Sequence[str]) -> Sequence[Recorded]:
        self.most = max(self.most, len(stream_ids))
        found = []
        for stream_id in stream_ids:
            number = UUID(stream_id.removeprefix("journal.entry-")).int
            user = OTHER if number in self._foreign else USER
            first = written(number, user, words=100)
            last = EntryDeleted(entry_id=first.entry_id, user_id=user, date=first.date)
            both: tuple[Event, ...] = (first, last)
            for version, event in enumerate(both, 1):
                found.append(
                    Recorded(
                        position=number,
                        stream_id=stream_id,
                        stream_version=version,
                        tenant_id=USER,
                        recorded_at=NOW,
                        event=event,
                    )
                )
        return found


class Ids:
    """A reader that knows the ids of so many entries, and no tags."""

    def __init__(self, entries: int) -> None:
        self._packed = b"".join(UUID(int=number).bytes for number in range(1, entries + 1))

    async def rows(self, query: Query, *parameters: Any, user_id: UUID) -> list[tuple[Any, ...]]:
        return [(self._packed,)] if query.name == "journal_entry_ids" else []


async def test_streams_come_in_order_and_those_of_others_not_at_all() -> None:
    made = Made(frozenset({3, 60}))
    ids = [stream_of(UUID(int=number)) for number in range(1, 120)]
    found = [stream async for stream in streams_of(OWNER, made, ids)]
    assert [stream[0].position for stream in found] == [
        number for number in range(1, 120) if number not in {3, 60}
    ]
    assert all(len(stream) == 2 for stream in found)
    assert made.most == AT_ONCE


async def peak_of(entries: int) -> int:
    """Most bytes in use while a diary of that length is written."""
    kept = Kept(keep=False)
    bundle = Bundle(OWNER, 7, kept.piece, kept.counted)
    share = await Journal(Ids(entries), Made()).share(OWNER)
    assert share.size == entries
    tracemalloc.start()
    try:
        await bundle.begin()
        for part in share.parts:
            await bundle.add(part)
        await bundle.end()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept.items >= entries
    return peak


async def test_memory_does_not_grow_with_the_diary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of it takes as much: what is written is 1 MB and 10 MB before compression."""
    monkeypatch.setattr(bundles, "PIECE", 32 * 1024)
    small, large = await peak_of(600), await peak_of(6_000)
    assert large < small + 300_000, (small, large)
