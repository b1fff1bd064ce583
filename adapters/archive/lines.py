"""The archive's form: JSON lines, each with a checksum, and a last one over all of them.

A line is ``{"position", "stream_id", "stream_version", "topic", "tenant_id", "recorded_at",
"metadata", "data", "checksum"}``. Its ``checksum`` is the SHA-256 (hex) of the line without that
member, byte for byte: of everything before ``,"checksum"`` and a closing brace. The last line is
``{"format": 1, "count", "checksum"}``; its checksum is that of all bytes before it.

``data`` is the event's JSON as it lies in the store. Where a part of it is sealed, ``data`` is
``{"public": {…}, "sealed": "<base64>"}``; data that is no JSON at all (an event somebody broke) is
``{"raw": "<base64>"}``. So an archive restores every byte. It may be compressed with zstd.

Owns reading, checking and writing of that form. It knows no database.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec
import zstandard

from domain.event import Metadata

FORMAT = 1
SEAL = b"\x00"
"""What parts an event's public JSON from what is sealed of it; never part of JSON."""
_ZSTD = b"\x28\xb5\x2f\xfd"
_PIECE = 8192
"""Compressed bytes at once: a file made to burst can become only so much larger than that."""
_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\n\Z')


class Damaged(Exception):
    """The file is no whole and unchanged archive; ``line`` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line


class Archived(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event; ``data`` is in the archive's form."""

    position: int
    stream_id: str
    stream_version: int
    topic: str
    tenant_id: UUID
    recorded_at: datetime
    metadata: Metadata
    data: msgspec.Raw


class _Last(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    count: int
    checksum: str


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: msgspec.Raw
    sealed: bytes


class _Broken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    raw: bytes


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Archived).decode


def data_of(stored: bytes) -> msgspec.Raw:
    """What lies in the store, in the archive's form."""
    public, found, sealed = stored.partition(SEAL)
    if not _is_object(public):
        return msgspec.Raw(_encode({"raw": b64encode(stored).decode()}))
    if found:
        head = b'{"public":' + public + b',"sealed":"'
        return msgspec.Raw(head + b64encode(sealed) + b'"}')
    return msgspec.Raw(public)


def stored_of(data: msgspec.Raw) -> bytes:
    """What lay in the store, byte for byte."""
    whole = bytes(data)
    if whole.startswith(b'{"public":'):
        with suppress(msgspec.MsgspecError):
            parts = msgspec.json.decode(whole, type=_Sealed)
            return bytes(parts.public) + SEAL + parts.sealed
    if whole.startswith(b'{"raw":'):
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(whole, type=_Broken).raw
    return whole


def _is_object(text: bytes) -> bool:
    if not text.startswith(b"{") or b"\n" in text or b"\r" in text:
        return False
    # Such objects mean something else in an archive; no event is made of one.
    if text.startswith((b'{"public":', b'{"raw":')):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


class Writer:
    """Writes lines to a binary file, and the last one when it is told to finish."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._all = hashlib.sha256()
        self.count = 0

    def add(self, event: Archived) -> None:
        """Write one event."""
        body = _encode(event)
        checksum = hashlib.sha256(body).hexdigest().encode()
        self._put(body[:-1] + b',"checksum":"' + checksum + b'"}\n')
        self.count += 1

    def finish(self) -> str:
        """Write the last line; the checksum of all."""
        checksum = self._all.hexdigest()
        self._put(_encode(_Last(FORMAT, self.count, checksum)) + b"\n")
        return checksum

    def _put(self, line: bytes) -> None:
        self._all.update(line)
        self._file.write(line)


class Reader:
    """Reads an archive, checking everything that can be checked without a store.

    ``checksum`` is known when all was read.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._all = hashlib.sha256()
        self._versions: dict[str, int] = {}
        self.count = 0
        self.checksum = ""

    def events(self) -> Iterator[Archived]:
        """Every event, in order.

        Raises:
            Damaged: at the first thing that is wrong, a missing end included.
        """
        number = 0
        try:
            for line in self._lines:
                number += 1
                if self.checksum:
                    raise Damaged(number, "something follows the last line")
                if line.startswith(b'{"format":'):
                    self._finish(line, number)
                else:
                    yield self._event(line, number)
                self._all.update(line)
        except zstandard.ZstdError as error:
            raise Damaged(number + 1, f"the compression is damaged ({error})") from None
        if not self.checksum:
            raise Damaged(number + 1, "the file ends before its last line")

    def _event(self, line: bytes, number: int) -> Archived:
        found = _CHECKSUM.search(line)
        if found is None:
            raise Damaged(number, "it has no checksum, or was cut off")
        body = line[: found.start()] + b"}"
        if hashlib.sha256(body).hexdigest().encode() != found[1]:
            raise Damaged(number, "its checksum is another: it was changed")
        try:
            event = _decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged(number, f"it is no event ({error})") from None
        self.count += 1
        if event.position != self.count:
            raise Damaged(number, f"position {event.position} stands where {self.count} belongs")
        before = self._versions.get(event.stream_id)
        if event.stream_version != (before + 1 if before is not None else event.stream_version):
            raise Damaged(number, f"{event.stream_id} lacks version {(before or 0) + 1}")
        if before is None and event.stream_version not in (0, 1):
            raise Damaged(number, f"{event.stream_id} lacks its beginning")
        self._versions[event.stream_id] = event.stream_version
        return event

    def _finish(self, line: bytes, number: int) -> None:
        try:
            last = msgspec.json.decode(line, type=_Last)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Damaged(number, "it is no last line") from None
        if last.format != FORMAT:
            raise Damaged(number, f"this reads format {FORMAT}, not {last.format}")
        if last.count != self.count:
            raise Damaged(number, f"{self.count} events are there, {last.count} should be")
        if last.checksum != self._all.hexdigest() or not line.endswith(b"\n"):
            raise Damaged(number, "the checksum of all is another: lines are missing or changed")
        self.checksum = last.checksum

    @property
    def streams(self) -> int:
        """How many streams were met so far."""
        return len(self._versions)


@contextmanager
def opened(path: Path) -> Iterator[Iterable[bytes]]:
    """The archive's lines, whether it is compressed or not."""
    with path.open("rb") as file:
        magic = file.read(len(_ZSTD))
        file.seek(0)
        yield file if magic != _ZSTD else _unpacked(file)


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """The lines of one compressed frame, which must end where the file does.

    Raises:
        zstandard.ZstdError: it is not whole, or something follows it.
    """
    frame = zstandard.ZstdDecompressor().decompressobj()
    rest = b""
    while packed := file.read(_PIECE):
        if frame.eof:
            raise zstandard.ZstdError("something follows its end")
        *lines, rest = (rest + frame.decompress(packed)).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if not frame.eof or frame.unused_data:
        raise zstandard.ZstdError("it does not end where it should")
    if rest:
        yield rest


@contextmanager
def replacing(path: Path, *, zstd: bool = False) -> Iterator[BinaryIO]:
    """A file that takes the place of ``path``, whole and only if nothing goes wrong; mode 0600."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            if zstd:
                packer = zstandard.ZstdCompressor(6, write_checksum=True)
                with packer.stream_writer(file, closefd=False) as packed:
                    yield packed
            else:
                yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
