"""A ZIP that is written as it comes: parts in, pieces of the file out.

Owns the form of the file: what is in it beside the parts (``README.txt``, ``manifest.json``), and
how lists are written. It holds one buffer of each side, however large the whole becomes; the
compression is done in a thread, so that the worker's other jobs go on.

The standard library's ``zipfile`` writes to a stream that cannot seek, with sizes after each
member. A library for streams (``stream-zip``) would pull from the sources, which are asynchronous.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO, Any

import msgspec

from workers.exports.sources import File, Listing, Owner, Part

FORMAT, FORMAT_VERSION = "mindstream.export", 1
PIECE = 256 * 1024
"""Bytes that are compressed, and handed on, at a time."""
README = """\
This is everything that Mindstream holds about you.

manifest.json lists the files with what each is about, how many items it has,
its size in bytes and its SHA-256.

*.json are UTF-8 text. A list is a JSON array with one item on each line, so that it can be read
by any program, and line by line if it is long. Times are in UTC, ids are UUIDs, and the fields are
those of the HTTP interface (/docs on the server that you had this from).

events.json is the record that all the rest is made of: what happened, in order, one stream
(yourself, a login, an entry) after the other.

Passwords, the seeds of authenticator apps and secrets of API keys are not in here.
"""

_encode = msgspec.json.Encoder().encode


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the manifest; ``items`` is null for what is no list."""

    path: str
    about: str
    size_bytes: int
    sha256: str
    items: int | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``manifest.json``; ``position`` is that of the last event that is surely in."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION
    user_id: Any
    created_at: datetime.datetime
    position: int
    files: list[Entry]


class Bundle:
    """The file under way. ``keep`` is given its pieces in order; ``counted`` each item."""

    def __init__(
        self,
        owner: Owner,
        position: int,
        keep: Callable[[bytes], Awaitable[None]],
        counted: Callable[[], Awaitable[None]],
    ) -> None:
        self._owner = owner
        self._position = position
        self._keep = keep
        self._counted = counted
        self._out = _Out()
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_DEFLATED)
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.entries: list[Entry] = []

    @property
    def sha256(self) -> str:
        """Of all that was kept."""
        return self._digest.hexdigest()

    async def add(self, part: Part) -> None:
        """Write one part.

        Raises:
            ValueError: there is one of this name already, or the name leads out of the folder that
                it is unpacked in.
        """
        if any(entry.path == part.path for entry in self.entries):
            raise ValueError("two parts have one path")
        if any(name in ("", ".", "..") for name in part.path.split("/")):
            raise ValueError("a part's path leads elsewhere")
        member = _Member()
        info = zipfile.ZipInfo(part.path, self._owner.now.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        buffer = bytearray()
        # Sizes are not known before: a member may be longer than 4 GiB.
        with self._zip.open(info, "w", force_zip64=True) as target:
            async for piece in _text(part, member):
                buffer += piece
                if isinstance(part, Listing):
                    await self._counted()
                if len(buffer) >= PIECE:
                    await asyncio.to_thread(member.write, target, bytes(buffer))
                    buffer.clear()
                    await self._hand_on()
            await asyncio.to_thread(member.write, target, bytes(buffer))
        self.entries.append(
            Entry(
                path=part.path,
                about=part.about,
                size_bytes=member.size_bytes,
                sha256=member.digest.hexdigest(),
                items=member.items if isinstance(part, Listing) else None,
            )
        )

    async def begin(self) -> None:
        """Write what comes first."""
        await self.add(_whole("README.txt", "What this is, for people.", README.encode()))

    async def end(self) -> None:
        """Write what comes last, and hand on the rest."""
        manifest = Manifest(
            user_id=self._owner.user_id,
            created_at=self._owner.now,
            position=self._position,
            files=list(self.entries),
        )
        text = msgspec.json.format(_encode(manifest), indent=2)
        await self.add(_whole("manifest.json", "What is in here, for programs.", text))
        self._zip.close()
        await self._hand_on(last=True)

    async def _hand_on(self, *, last: bool = False) -> None:
        waiting = self._out.waiting
        while len(waiting) >= PIECE or (last and waiting):
            piece = bytes(waiting[:PIECE])
            del waiting[:PIECE]
            self._digest.update(piece)
            self.size_bytes += len(piece)
            await self._keep(piece)


class _Out:
    """Where ``zipfile`` writes: it cannot seek, and is emptied meanwhile."""

    def __init__(self) -> None:
        self.waiting = bytearray()

    def write(self, data: bytes, /) -> int:
        self.waiting += data
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is held open."""


class _Member:
    """What is known of a member as it is written."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.items = 0

    def write(self, target: IO[bytes], data: bytes) -> None:
        self.digest.update(data)
        self.size_bytes += len(data)
        target.write(data)


async def _text(part: Part, member: _Member) -> AsyncIterator[bytes]:
    """The bytes of a part; a list gets its brackets, commas and lines."""
    if isinstance(part, File):
        async for piece in part.pieces:
            yield piece
        return
    async for item in part.items:
        yield (b",\n" if member.items else b"[\n") + _encode(item)
        member.items += 1
    yield b"\n]\n" if member.items else b"[]\n"


def _whole(path: str, about: str, text: bytes) -> File:
    async def pieces() -> AsyncIterator[bytes]:
        yield text

    return File(path, about, pieces())
