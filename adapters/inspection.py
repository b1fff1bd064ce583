"""Looks into files: how long they are, their checksum, and what they really are.

Owns what counts as a file of each type. An image is what Pillow can read the structure of as that
type (of a PNG with every checksum); its pixels are decoded by nobody here. A PDF begins with its
signature. The name and whatever a client says about it are not asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
from collections.abc import AsyncIterator

from PIL import Image

from domain.journal.attachment import Measured

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
AT_ONCE = 2
"""Images that are in memory at a time, whole: what follows wait."""
UNKNOWN = "application/octet-stream"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_HTML = re.compile(rb"<(!doctype|html|head|body|script|svg|\?xml|iframe|!--)", re.IGNORECASE)
_HEAD = 1024

# Many pixels are no fault, since none are decoded here: whoever makes pictures minds them.
Image.MAX_IMAGE_PIXELS = None


class Inspector:
    """``commands.journal_attachments.Inspecting``."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(AT_ONCE)

    async def measure(self, pieces: AsyncIterator[bytes]) -> Measured:
        """Read it all, and look at it."""
        digest = hashlib.sha256()
        size = 0
        head = b""
        async with self._room:
            whole: io.BytesIO | None = None
            async for piece in pieces:
                if not size:
                    head = bytes(piece[:_HEAD])
                    whole = io.BytesIO() if _claims(head).startswith("image/") else None
                size += len(piece)
                digest.update(piece)
                if whole is not None:
                    whole.write(piece)
            kind = _claims(head)
            if whole is not None:
                kind = await asyncio.to_thread(_image, whole)
        return Measured(size_bytes=size, sha256=digest.hexdigest(), content_type=kind)


def _claims(head: bytes) -> str:
    """What the first bytes make of it."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if _HTML.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")):
        return "text/html"
    return UNKNOWN


def _image(whole: io.BytesIO) -> str:
    """The type of an image whose structure is sound, else ``UNKNOWN``."""
    whole.seek(0)
    try:
        with Image.open(whole, formats=FORMATS) as image:
            kind = Image.MIME.get(image.format or "", UNKNOWN)
            image.verify()
    except Exception:  # noqa: BLE001  whatever Pillow stumbles over, it is no such image
        return UNKNOWN
    return kind
