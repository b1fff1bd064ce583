"""The master keys: from the settings, or files under the home, where the first start makes one.

Owns reading and making them. ``HOME/master.key`` is the newest; earlier generations lie beside it
as ``master.key.1`` and so on, in the order in which they were made. What a key opens is lost
without it, so that none is ever overwritten.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bootstrap.places import Places
from bootstrap.settings import Settings

BYTES = 32
NAME = "master.key"


class NotInFiles(Exception):
    """The master key is a setting: whoever sets it rotates it."""


def master_keys(settings: Settings) -> tuple[bytes, ...]:
    """The keys' 32 bytes each, newest first; makes ``HOME/master.key`` if nothing names one.

    Raises:
        ValueError: a file holds something else.
    """
    if settings.master_key is not None:
        texts = (settings.master_key, *settings.master_key_previous)
        return tuple(base64.b64decode(text) for text in texts)
    home = Places(settings.home).home
    path = home / NAME
    if not path.exists():
        Places(settings.home).prepare()
        fresh = _fresh(home)
        try:
            # Of two processes that start at once one wins, whole; the other reads what it made.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink()
    newest = _read(path)
    earlier = (_read(each) for each in reversed(_earlier(home)))
    return (newest, *(key for key in earlier if key != newest))


def add_generation(settings: Settings) -> int:
    """Make a new master key, and keep the present one beside it; the new one's number, from 1.

    Raises:
        NotInFiles: the key is a setting.
    """
    if settings.master_key is not None:
        raise NotInFiles
    master_keys(settings)
    home = Places(settings.home).home
    with _alone(home):
        return _add(home)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Of two rotations at once one waits: else a key that sealed already might be lost."""
    handle = os.open(home / ".master-lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _add(home: Path) -> int:
    fresh = _fresh(home)
    number = max((int(each.suffix[1:]) for each in _earlier(home)), default=0) + 1
    os.link(home / NAME, home / f"{NAME}.{number}")
    # Whoever reads in between finds the old key twice, and never none.
    fresh.rename(home / NAME)
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return number + 1


def _earlier(home: Path) -> list[Path]:
    """The files of earlier generations, the first one first."""
    found = [each for each in home.glob(f"{NAME}.*") if each.suffix[1:].isdigit()]
    return sorted(found, key=lambda each: int(each.suffix[1:]))


def _fresh(home: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=home, prefix=".master-")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(base64.b64encode(os.urandom(BYTES)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _read(path: Path) -> bytes:
    key = b""
    with contextlib.suppress(binascii.Error):
        key = base64.b64decode(path.read_text("ascii").strip(), validate=True)
    if len(key) != BYTES:
        raise ValueError(f"{path} does not hold the base64 of {BYTES} bytes")
    return key
