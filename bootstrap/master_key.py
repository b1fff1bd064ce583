"""The master keys: from the settings, or files under the home, where the first start makes one.

Owns reading and making them. ``HOME/master.key`` is the newest; earlier generations lie beside it
as ``master.key.1`` and so on, in the order in which they were made. What a key opens is lost
without it, so that none is ever overwritten, and no number is used twice.

``master.root`` is there once earlier generations were discarded: what secrets are derived from that
clients hold something of (cursors, links), and the last number that was used. It opens nothing.
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

from adapters.sealing import Sealer, root_of
from bootstrap.places import Places
from bootstrap.settings import Settings

BYTES = 32
NAME = "master.key"
ROOT = "master.root"


class NotInFiles(Exception):
    """The master key is a setting: whoever sets it rotates it."""


class KeyChanged(Exception):
    """Somebody else has made a newer master key meanwhile."""


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
    earlier = []
    for each in reversed(_earlier(home)):
        with contextlib.suppress(FileNotFoundError):  # discarded this moment
            earlier.append(_read(each))
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


def root_of_secrets(settings: Settings) -> bytes | None:
    """What secrets are derived from, where the first key is not here any more.

    Raises:
        ValueError: the file holds something else.
    """
    found = None if settings.master_key is not None else _root(Places(settings.home).home)
    return None if found is None else found[0]


def discard_earlier(settings: Settings, keep: str) -> int:
    """Delete the earlier generations, for good; how many there were.

    The newest one is kept, whose id (``Sealer.generation``) must be ``keep``.

    Raises:
        NotInFiles: the key is a setting.
        KeyChanged: another rotation came in between.
    """
    if settings.master_key is not None:
        raise NotInFiles
    home = Places(settings.home).home
    with _alone(home):
        if Sealer(_read(home / NAME)).generation != keep:
            raise KeyChanged
        earlier = _earlier(home)
        if not earlier:
            return 0
        before = _root(home)
        root = root_of(_read(earlier[0])) if before is None else before[0]
        fresh = _file(home, f"{base64.b64encode(root).decode()} {_number(earlier[-1])}\n")
        fresh.rename(home / ROOT)
        _sync(home)  # without it what is derived would change
        for each in earlier:
            each.unlink()
        _sync(home)
    return len(earlier)


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
    discarded = _root(home)
    last = 0 if discarded is None else discarded[1]
    number = max((last, *map(_number, _earlier(home)))) + 1
    os.link(home / NAME, home / f"{NAME}.{number}")
    # Whoever reads in between finds the old key twice, and never none.
    fresh.rename(home / NAME)
    _sync(home)
    return number + 1


def _earlier(home: Path) -> list[Path]:
    """The files of earlier generations, the first one first."""
    return sorted(
        (each for each in home.glob(f"{NAME}.*") if each.suffix[1:].isdigit()), key=_number
    )


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _fresh(home: Path) -> Path:
    return _file(home, base64.b64encode(os.urandom(BYTES)).decode() + "\n")


def _file(home: Path, text: str) -> Path:
    """A new file with this text, on the disk, for its owner alone."""
    handle, name = tempfile.mkstemp(dir=home, prefix=".master-")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def _sync(home: Path) -> None:
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _root(home: Path) -> tuple[bytes, int] | None:
    """What ``master.root`` holds, if it is there."""
    path = home / ROOT
    try:
        text, _, number = path.read_text("ascii").strip().partition(" ")
    except FileNotFoundError:
        return None
    key = _decoded(text)
    if len(key) != BYTES or not number.isdigit():
        raise ValueError(f"{path} does not hold the base64 of {BYTES} bytes and a number")
    return key, int(number)


def _decoded(text: str) -> bytes:
    with contextlib.suppress(binascii.Error, ValueError):
        return base64.b64decode(text, validate=True)
    return b""


def _read(path: Path) -> bytes:
    key = _decoded(path.read_text("ascii").strip())
    if len(key) != BYTES:
        raise ValueError(f"{path} does not hold the base64 of {BYTES} bytes")
    return key
