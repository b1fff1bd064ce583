"""The export of everything about a person: the kind of its operations and what comes of one.

Owns names and shapes that the workers, both APIs and the store of the files share.
"""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

import msgspec

EXPORT = "accounts.export"
"""Kind of the operations, and name of the worker's actor; permanent."""


class Overtaken(Exception):
    """The file that an attempt writes is not wanted any more: another began, or it was erased."""


class OpenedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored, opened: for the person whom it is about.

    ``address`` and ``agent`` are from where it was done, where that is known.
    """

    position: int
    stream_id: str
    stream_version: int
    topic: str
    recorded_at: datetime.datetime
    actor: str
    correlation_id: str
    address: str | None
    agent: str | None
    data: dict[str, Any]


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an export's operation.

    ``counts`` has the number of items of each list in it by path, ``sha256`` is of the whole file.
    It holds no link: whoever asks and may have one gets it made (``download_url``).
    """

    expires_at: datetime.datetime
    size_bytes: int
    sha256: str
    files: int
    counts: dict[str, int]


class ExportFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is ready; ``run`` names the attempt that wrote it."""

    export_id: UUID
    user_id: UUID
    run: UUID
    ready_at: datetime.datetime
    result: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """How long the file is."""
        size: int = self.result["size_bytes"]
        return size
