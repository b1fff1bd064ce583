"""Small files of every type that an attachment may have, made on the spot."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """An image with a gradient, so that it can be told which side is up."""
    image = Image.linear_gradient("L").resize(size)
    image = Image.merge("RGB", (image, image.transpose(Image.Transpose.ROTATE_180), image))
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def document() -> bytes:
    """A PDF of one empty page."""
    made = io.BytesIO()
    Image.new("RGB", (10, 10)).save(made, "PDF")
    return made.getvalue()


FILES: dict[str, bytes] = {
    "image/png": picture("PNG"),
    "image/jpeg": picture("JPEG"),
    "image/gif": picture("GIF"),
    "image/webp": picture("WEBP"),
    "application/pdf": document(),
}
"""One of each, by its type."""
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
