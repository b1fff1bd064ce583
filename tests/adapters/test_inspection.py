"""What a file is, told from its bytes alone; and the small pictures of images."""

from __future__ import annotations

import hashlib
import io
import struct
import time
import zlib
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from adapters import pictures
from adapters.inspection import UNKNOWN, Inspector
from adapters.pictures import EDGE, Pictures, picture
from tests.support.pictures import FILES, HTML
from tests.support.pictures import picture as image_of

pytestmark = pytest.mark.anyio


async def pieces(content: bytes, size: int = 7000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def kind_of(content: bytes) -> str:
    found = await Inspector().measure(pieces(content))
    assert found.size_bytes == len(content)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    return found.content_type


@pytest.mark.parametrize("content_type", FILES)
async def test_files_are_what_they_are(content_type: str) -> None:
    assert await kind_of(FILES[content_type]) == content_type


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", UNKNOWN),
        (b"x", UNKNOWN),
        (HTML, "text/html"),
        (b"\xef\xbb\xbf  <svg xmlns='http://www.w3.org/2000/svg'/>", "text/html"),
        (b"<?xml version='1.0'?><svg/>", "text/html"),
        (b"MZ\x90\x00", UNKNOWN),
        *((FILES[kind][:12] + HTML * 50, UNKNOWN) for kind in FILES if kind.startswith("image/")),
        (b"GIF89a/*" + HTML, UNKNOWN),
        (FILES["image/png"].replace(b"IDAT", b"IDAX"), UNKNOWN),
        (FILES["image/png"][:60] + b"\x00" + FILES["image/png"][61:], UNKNOWN),
        (HTML + FILES["application/pdf"], "text/html"),
    ],
)
async def test_what_only_looks_like_one(content: bytes, kind: str) -> None:
    assert await kind_of(content) == kind


async def test_what_follows_the_end_of_an_image_does_not_matter() -> None:
    assert await kind_of(FILES["image/png"] + b"\x00" * 100_000) == "image/png"


def opened(made: bytes | None) -> Image.Image:
    assert made is not None
    found = Image.open(io.BytesIO(made))
    assert found.format == "WEBP"
    return found


async def test_a_small_picture_is_small_and_the_right_way_up() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    exif[0x010F] = "canary-camera"
    source = Image.new("RGB", (800, 400), "blue")
    source.paste("red", (0, 0, 400, 400))
    data = io.BytesIO()
    source.save(data, "JPEG", exif=exif, quality=90)
    made = await Pictures().small(data.getvalue())
    found = opened(made)
    assert found.size == (EDGE // 2, EDGE)
    assert found.getexif() == {}
    assert b"canary" not in (made or b"")
    red, _, blue = found.convert("RGB").getpixel((80, 20))  # type: ignore[misc]
    assert red > blue + 150  # what was left is above


@pytest.mark.parametrize("content_type", [kind for kind in FILES if kind.startswith("image/")])
def test_every_type_of_image_has_one_and_small_ones_stay_small(content_type: str) -> None:
    assert opened(picture(FILES[content_type])).size == (64, 48)


def test_transparency_stays() -> None:
    data = io.BytesIO()
    Image.new("RGBA", (500, 10), (0, 0, 0, 0)).save(data, "PNG")
    assert opened(picture(data.getvalue())).mode == "RGBA"
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([255, 0, 0] * 256)
    data = io.BytesIO()
    palette.save(data, "GIF", transparency=0)
    assert opened(picture(data.getvalue())).mode == "RGBA"


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\x00" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    )


async def test_a_broken_image_and_a_bomb_have_no_picture_and_hold_up_nobody() -> None:
    began = time.monotonic()
    assert await kind_of(bomb(60_000, 60_000)) == "image/png"
    for content in (HTML, b"", image_of("JPEG")[:200], bomb(60_000, 60_000), bomb(9000, 9000)):
        assert await Pictures().small(content) is None
    assert time.monotonic() - began < 20


async def test_a_child_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "SECONDS", -5.0)  # no time at all by the clock
    began = time.monotonic()
    assert await Pictures().small(FILES["image/png"]) is None
    assert time.monotonic() - began < 5
