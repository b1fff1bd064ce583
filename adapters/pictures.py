"""Makes small pictures of images, each in a process of its own.

Owns what a picture is: WebP, at most ``EDGE`` pixels a side, the right way up, with nothing of the
image's metadata (place and camera included). The decoders of images are what an attacker would aim
at, so they run in a child that holds no key, and has so much memory, processor time and no more;
whatever becomes of it, here it is an image without a picture.

This file is the child's program, too: it reads the image from its input and writes the picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys

EDGE = 320
MOST_PIXELS = 50_000_000
SECONDS = 15
"""Processor time that a child has; by the clock it has somewhat more."""
MEMORY = 1024 * 1024 * 1024
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
NO_PICTURE = 3
"""Exit code of a child that cannot make one."""


class Pictures:
    """``workers.journal_thumbnails.Picturing``."""

    async def small(self, image: bytes) -> bytes | None:
        """The picture; None where none can be made of it."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            __file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(SECONDS + 5):
                made, _ = await child.communicate(image)
        except TimeoutError:
            return None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        return made if child.returncode == 0 and made else None


def picture(image: bytes) -> bytes | None:
    """The picture of an image, made in this process; None where none can be made."""
    from PIL import Image, ImageOps  # noqa: PLC0415  only the child decodes

    Image.MAX_IMAGE_PIXELS = None  # ours is below
    with Image.open(io.BytesIO(image), formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            return None
        opened.draft("RGB", (EDGE * 2, EDGE * 2))  # a JPEG is then decoded at a part of its size
        has_alpha = opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info
        mode = "RGBA" if has_alpha else "RGB"
        # Small first, so that there are few copies of what is large.
        small = opened if opened.mode == mode else opened.convert(mode)
        small.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
        small = ImageOps.exif_transpose(small)
        # Drawn on a fresh image: what the file said of itself stays behind.
        clean = Image.new(small.mode, small.size)
        clean.paste(small)
        made = io.BytesIO()
        clean.save(made, "WEBP", quality=80, method=4)
        return made.getvalue()


def _main() -> int:
    import resource  # noqa: PLC0415  where there is none there is no child

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # some systems know no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        made = picture(sys.stdin.buffer.read())
    except Exception:  # noqa: BLE001  whatever is wrong with it
        made = None
    if made is None:
        return NO_PICTURE
    sys.stdout.buffer.write(made)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
