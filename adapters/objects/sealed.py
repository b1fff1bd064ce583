"""Bytes sealed in pieces, so that a long file is written and read without being whole in memory.

Owns the form: each piece of ``PIECE`` bytes (the last may be shorter) is a nonce and AES-GCM, with
its number and whether it is the last one authenticated beside what the file is. So pieces can be
read from the middle on, and none can be left out, exchanged or cut off unseen.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PIECE = 256 * 1024
_NONCE = 12
OVERHEAD = _NONCE + 16
SEALED_PIECE = PIECE + OVERHEAD


class Broken(Exception):
    """What was read is not what was written, or not under this key."""


async def seal(
    cipher: AESGCM, context: bytes, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """The sealed pieces of a file; there is one at least, be it empty."""
    waiting = bytearray()
    number = 0
    async for data in pieces:
        waiting += data
        # One byte more must be there: only then it is known not to be the last piece.
        while len(waiting) > PIECE:
            yield _sealed(cipher, context, number, bytes(waiting[:PIECE]), last=False)
            del waiting[:PIECE]
            number += 1
    yield _sealed(cipher, context, number, bytes(waiting), last=True)


def size_of(sealed_size: int) -> int:
    """How many bytes a sealed file of this length holds."""
    return sealed_size - -(-sealed_size // SEALED_PIECE) * OVERHEAD


def pieces_of(size: int, first: int, count: int | None) -> Iterator[tuple[int, slice, bool]]:
    """Which sealed pieces hold these bytes: each one's number, what of it, and if it is the last.

    ``size`` is that of the open file.
    """
    end = size if count is None else min(size, first + count)
    last = max(0, -(-size // PIECE) - 1)
    for number in range(first // PIECE, last + 1):
        begin = number * PIECE
        if begin >= end and not (end == 0 and number == 0):
            return
        yield number, slice(max(0, first - begin), min(PIECE, end - begin)), number == last


def open_piece(cipher: AESGCM, context: bytes, number: int, sealed: bytes, *, last: bool) -> bytes:
    """One piece as it was.

    Raises:
        Broken: it is another one, or was changed.
    """
    try:
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _about(context, number, last=last))
    except (InvalidTag, ValueError):
        raise Broken("a piece cannot be opened") from None


def _sealed(cipher: AESGCM, context: bytes, number: int, piece: bytes, *, last: bool) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, piece, _about(context, number, last=last))


def _about(context: bytes, number: int, *, last: bool) -> bytes:
    return b"object\x00%s\x00%d\x00%d" % (context, number, last)
