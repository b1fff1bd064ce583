"""The master key: from the settings, or a file under the home that is made at the first start.

Owns reading and making it. What it opens is lost without it, so it is never overwritten.
"""

from __future__ import annotations

import base64
import contextlib
import os
import tempfile
from pathlib import Path

from bootstrap.places import Places
from bootstrap.settings import Settings

BYTES = 32


def master_key(settings: Settings) -> bytes:
    """The key's 32 bytes; makes ``HOME/master.key`` (mode 0600) if nothing names one.

    Raises:
        ValueError: the file holds something else.
    """
    if settings.master_key is not None:
        return base64.b64decode(settings.master_key)
    places = Places(settings.home)
    path = places.home / "master.key"
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        places.prepare()
        handle, fresh = tempfile.mkstemp(dir=places.home, prefix=".master-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(base64.b64encode(os.urandom(BYTES)).decode() + "\n")
                file.flush()
                os.fsync(file.fileno())
            # Of two processes that start at once one wins, whole; the other reads what it made.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            Path(fresh).unlink()
        text = path.read_text("ascii")
    key = base64.b64decode(text.strip(), validate=True)
    if len(key) != BYTES:
        raise ValueError(f"{path} does not hold the base64 of {BYTES} bytes")
    return key
