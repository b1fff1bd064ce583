"""Objects as files in a folder, sealed with their person's key.

A file is unreadable with that key, in backups of the folder too. Owns the layout::

    files/<person>/<entry>_<attachment>_<object>          what is kept
    uploads/<person>/<entry>_<attachment>                 what was uploaded last
    uploads/<person>/<entry>_<attachment>.<random>.part   what is coming in

An upload is written aside and renamed when it is complete; keeping it is another name of the same
file, whose content nothing changes. Every process that reads or writes files needs this folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.objects.sealed import SEALED_PIECE, open_piece, pieces_of, seal, size_of
from commands.journal_attachments import ObjectGone, Stored
from domain.journal.attachment import ObjectName, Upload

Cipher = Callable[[UUID], Awaitable[AESGCM | None]]
"""What seals for a person; None for somebody who was erased."""


class FolderObjects:
    """``commands.journal_attachments.Objects`` in a folder, which is made when it is needed."""

    def __init__(self, folder: Path, cipher: Cipher) -> None:
        self._files = folder / "files"
        self._uploads = folder / "uploads"
        self._cipher = cipher

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """There is nothing to open."""
        yield

    async def receive(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        """Write the upload aside, and put it in the place of an earlier one when it is whole."""
        cipher = await self._key(upload.user_id)
        target = self._upload(upload)
        await self._write(target, seal(cipher, _context(upload.attachment_id), pieces))

    async def put(self, name: ObjectName, data: bytes) -> None:
        """Keep bytes, which are whole from the first moment on."""

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        cipher = await self._key(name.user_id)
        context = _context(name.attachment_id)
        await self._write(self._file(name), seal(cipher, context, pieces()))

    async def _write(self, target: Path, sealed: AsyncIterator[bytes]) -> None:
        aside = target.with_name(f"{target.name}.{secrets.token_hex(8)}.part")
        file = await asyncio.to_thread(_create, aside)
        try:
            with file:
                async for piece in sealed:
                    await asyncio.to_thread(file.write, piece)
                await asyncio.to_thread(_flush, file)
            await asyncio.to_thread(aside.replace, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    async def keep(self, upload: Upload, name: ObjectName) -> bool:
        """Give the uploaded file another name."""
        return await asyncio.to_thread(_link, self._upload(upload), self._file(name))

    async def size(self, name: ObjectName) -> int | None:
        """From the length of the file."""
        try:
            found = await asyncio.to_thread(self._file(name).stat)
        except FileNotFoundError:
            return None
        return size_of(found.st_size)

    async def read(
        self, name: ObjectName, first: int = 0, count: int | None = None
    ) -> AsyncIterator[bytes]:
        """Open piece after piece."""
        cipher, context = await self._key(name.user_id), _context(name.attachment_id)
        try:
            file = await asyncio.to_thread(self._file(name).open, "rb")
        except FileNotFoundError:
            raise ObjectGone from None
        with file:
            size = size_of(os.fstat(file.fileno()).st_size)
            for number, part, last in pieces_of(size, first, count):
                sealed = await asyncio.to_thread(_piece, file, number)
                piece = open_piece(cipher, context, number, sealed, last=last)
                yield piece if part == slice(0, len(piece)) else piece[part]

    async def delete(self, *names: ObjectName) -> None:
        """Unlink the files."""
        for name in names:
            await asyncio.to_thread(self._file(name).unlink, missing_ok=True)

    async def drop(self, upload: Upload) -> None:
        """Unlink what was uploaded."""
        await asyncio.to_thread(self._upload(upload).unlink, missing_ok=True)

    async def drop_uploads(self, before: datetime) -> int:
        """By the time of the last change, so that what is coming in stays."""
        return await asyncio.to_thread(_drop_older, self._uploads, before.timestamp())

    async def erase(self, user_id: UUID) -> int:
        """Remove the person's folders."""
        folders = (self._files / str(user_id), self._uploads / str(user_id))
        return sum([await asyncio.to_thread(_remove, folder) for folder in folders])

    async def all(self) -> AsyncIterator[Stored]:
        """Person by person and by name, so that what is of one entry comes together."""
        for folder in await asyncio.to_thread(_listed, self._files):
            for path in await asyncio.to_thread(_listed, folder):
                name = _name_of(path)
                if name is None:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    since = await asyncio.to_thread(path.stat)
                    yield Stored(name, datetime.fromtimestamp(since.st_mtime, UTC))

    async def _key(self, user_id: UUID) -> AESGCM:
        cipher = await self._cipher(user_id)
        if cipher is None:
            raise ObjectGone
        return cipher

    def _file(self, name: ObjectName) -> Path:
        last = f"{name.entry_id}_{name.attachment_id}_{name.object_id}"
        return self._files / str(name.user_id) / last

    def _upload(self, upload: Upload) -> Path:
        return self._uploads / str(upload.user_id) / f"{upload.entry_id}_{upload.attachment_id}"


def _context(attachment_id: UUID) -> bytes:
    """What a file is bound to: an upload becomes a kept file without being sealed anew."""
    return attachment_id.bytes


def _create(path: Path) -> IO[bytes]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)


def _flush(file: IO[bytes]) -> None:
    os.fsync(file.fileno())


def _link(source: Path, target: Path) -> bool:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        target.chmod(0o600)
    else:
        os.utime(target)  # kept from now on; the upload is younger for it, too, and swept later
    return True


def _piece(file: IO[bytes], number: int) -> bytes:
    return os.pread(file.fileno(), SEALED_PIECE, number * SEALED_PIECE)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _name_of(path: Path) -> ObjectName | None:
    """The name that a file stands for; None for one that is still being written."""
    try:
        entry_id, attachment_id, object_id = path.name.split("_")
        ids = (path.parent.name, entry_id, attachment_id, object_id)
        return ObjectName(*(UUID(each) for each in ids))
    except ValueError:
        return None


def _drop_older(uploads: Path, before: float) -> int:
    count = 0
    for folder in _listed(uploads):
        for path in _listed(folder):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    count += 1
    return count


def _remove(folder: Path) -> int:
    count = 0
    for path in _listed(folder):
        path.unlink(missing_ok=True)
        count += 1
    with contextlib.suppress(OSError):  # somebody has just written another: the next look has it
        folder.rmdir()
    return count
