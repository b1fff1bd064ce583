"""Attachments of an entry: what may be one, and whether what came is what was announced.

Owns the rules (types, size, names), the names of objects, and the judgement. What looks into bytes
is an adapter; what keeps them is an object store. An attachment is part of its entry: its events
are in the entry's stream.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from domain.errors import DomainError

MAX_BYTES = 52_428_800
MAX_ATTACHMENTS = 100
"""Attachments that one entry has at most: they are shown with it."""

ContentType = Literal["image/jpeg", "image/png", "image/gif", "image/webp", "application/pdf"]

# No separators of paths, no control characters, none that turn the direction of the text around
# (which make an .exe look like a .png), and not the names of folders. Nothing may follow: unlike $,
# the look-ahead lets no line feed pass, and it means the same in JavaScript.
_END = r"(?![\s\S])"
_BAD = r"/\\\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069"
_FILENAME = rf"^(?!\.{{1,2}}{_END})[^{_BAD}]+{_END}"
_SHA256 = rf"^[0-9a-fA-F]{{64}}{_END}"

Filename = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=_FILENAME)]
Size = Annotated[int, msgspec.Meta(ge=1, le=MAX_BYTES)]
Sha256 = Annotated[str, msgspec.Meta(pattern=_SHA256)]

Discrepancy = Literal["SIZE_MISMATCH", "CHECKSUM_MISMATCH", "CONTENT_TYPE_MISMATCH"]


class NewAttachment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file as it is announced, before any of its bytes have come."""

    filename: Filename
    content_type: ContentType
    size_bytes: Size
    sha256: Sha256 | None = None


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that belongs to an entry. ``thumbnail_id`` names the bytes of its small picture.

    ``version`` is 1, and 2 with the picture: what a person decided on version 1 still holds then.
    """

    attachment_id: UUID
    object_id: UUID
    filename: str
    content_type: str
    size_bytes: int
    sha256: str
    thumbnail_id: UUID | None = None
    version: int = 1


class ObjectName(msgspec.Struct, frozen=True, order=True):
    """The name of bytes in an object store: whose, of which entry and attachment, and which.

    The person comes first, so that all that is theirs lies together, and no tenant does: people
    move from one to another.
    """

    user_id: UUID
    entry_id: UUID
    attachment_id: UUID
    object_id: UUID

    @property
    def key(self) -> str:
        """The name as text."""
        return f"{self.user_id}/{self.entry_id}/{self.attachment_id}/{self.object_id}"


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that was announced and is not completed; bytes may have come or not."""

    user_id: UUID
    entry_id: UUID
    attachment_id: UUID
    declared: NewAttachment

    def named(self, object_id: UUID) -> ObjectName:
        """What its bytes are called once they are kept."""
        return ObjectName(self.user_id, self.entry_id, self.attachment_id, object_id)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in bytes; ``content_type`` is told from them alone."""

    size_bytes: int
    sha256: str
    content_type: str


class Mismatch(msgspec.Struct, frozen=True):
    """One thing that is not as it was announced."""

    code: Discrepancy
    field: str
    declared: str | int
    found: str | int


class Mismatched(DomainError):
    """What was uploaded is not what was announced; ``mismatches`` has at least one."""

    def __init__(self, mismatches: tuple[Mismatch, ...]) -> None:
        super().__init__(", ".join(each.code for each in mismatches))
        self.mismatches = mismatches


class NotUploaded(DomainError):
    """No bytes have come for this attachment."""


class TooManyAttachments(DomainError):
    """The entry has as many as one may have."""


def mismatches(declared: NewAttachment, found: Measured) -> tuple[Mismatch, ...]:
    """What differs: the size first, since a part of a file is neither its sum nor, often, its kind.

    A checksum that was not announced differs from none.
    """
    wanted = declared.sha256.lower() if declared.sha256 is not None else found.sha256
    compared: tuple[tuple[Discrepancy, str, str | int, str | int], ...] = (
        ("SIZE_MISMATCH", "size_bytes", declared.size_bytes, found.size_bytes),
        ("CHECKSUM_MISMATCH", "sha256", wanted, found.sha256),
        ("CONTENT_TYPE_MISMATCH", "content_type", declared.content_type, found.content_type),
    )
    return tuple(
        Mismatch(code, field, said, is_there)
        for code, field, said, is_there in compared
        if said != is_there
    )


def has_picture(content_type: str) -> bool:
    """Whether a small picture can be made of files of this type."""
    return content_type.startswith("image/")
