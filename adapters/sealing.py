"""AES-256-GCM under the master key: for secrets and answers that lie in tables.

Owns the form of what is sealed::

    version (1 byte) | master key's id (4) | salt (16) | nonce (12) | ciphertext and tag

Each process draws a salt and derives a key of its own from it, and counts its nonces. So no nonce
is ever used twice under one key, however much is sealed, which random nonces could not promise.
The id lets a rotated master key live on for what it sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from adapters.ending import end

_VERSION = b"\x01"
_SALT, _NONCE = 16, 12
_HEADER = 1 + 4 + _SALT + _NONCE
log = structlog.get_logger()

_REFRESH = 1.0
_LOOK_AGAIN = 0.2
"""Seconds between looks for a master key that is not known."""


class Unsealable(Exception):
    """Not sealed by a key that we have, for another context, or changed since."""


def _derive(master_key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(master_key)


def root_of(master_key: bytes) -> bytes:
    """What secrets are derived from (32 bytes): the key itself does not follow from it.

    It is HKDF's extract without a salt. What is sealed needs another extract, with its own salt, so
    that the root of a key that was discarded opens nothing.
    """
    return hmac.digest(bytes(32), master_key, "sha256")


class _Sealing(NamedTuple):
    """What this process seals with now; replaced as a whole."""

    pid: int
    header: bytes
    cipher: AESGCM
    numbers: Iterator[int]


class Sealer:
    """Seals with ``master_key`` (32 bytes), opens with that or one of the ``older`` ones.

    The older ones are given newest first. ``reread`` finds all keys again in that order, after a
    rotation: it is asked when something was sealed by a key that is not known, and by ``refresh``.
    ``root`` is what secrets are derived from where the first key of all was discarded.

    Raises:
        ValueError: a key has not 32 bytes.
    """

    def __init__(
        self,
        master_key: bytes,
        *older: bytes,
        reread: Callable[[], Sequence[bytes]] | None = None,
        root: bytes | None = None,
    ) -> None:
        self._reread = reread
        self._reread_at = float("-inf")
        self._cipher = lru_cache(256)(self._derived)
        self._take((master_key, *older))
        self._root = root_of(self._ordered[-1]) if root is None else root

    def __reduce__(self) -> Any:
        """Another process has the same keys and a salt of its own."""
        return _again, (tuple(self._ordered), self._reread, self._root)

    @property
    def generation(self) -> str:
        """The id of the key that seals now, as ``generation_of`` tells it."""
        return _id_of(self._ordered[0]).hex()

    def refresh(self) -> None:
        """Take up a new master key, if there is one.

        Raises:
            OSError, ValueError: the keys cannot be read; those that are known go on.
        """
        if self._reread is not None:
            self._reread_at = time.monotonic()
            found = tuple(self._reread())
            if found != self._ordered:
                self._take(found)

    @asynccontextmanager
    async def refreshing(self) -> AsyncIterator[None]:
        """Refresh once a second as long as the context lasts."""
        task = asyncio.create_task(self._go_on_refreshing())
        try:
            yield
        finally:
            await end(task)

    async def _go_on_refreshing(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH)
            try:
                self.refresh()
            except (OSError, ValueError) as error:
                log.warning("master_key_not_read", reason=type(error).__name__)

    def _take(self, ordered: tuple[bytes, ...]) -> None:
        if any(len(key) != 32 for key in ordered):
            raise ValueError("a master key has 32 bytes")
        # A key that once opened something goes on opening it, wherever it is gone from.
        self._keys = {**getattr(self, "_keys", {}), **{_id_of(key): key for key in ordered}}
        self._ordered = ordered
        self._now = self._renewed()

    def _renewed(self) -> _Sealing:
        """A new salt: for a new process, which a fork is too, and for a new key."""
        salt = os.urandom(_SALT)
        key_id = _id_of(self._ordered[0])
        cipher = self._derived(key_id, salt)
        return _Sealing(os.getpid(), _VERSION + key_id + salt, cipher, itertools.count())

    def _derived(self, key_id: bytes, salt: bytes) -> AESGCM:
        return AESGCM(_derive(self._keys[key_id], b"mindstream/sealing", salt))

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        now = self._now
        if os.getpid() != now.pid:
            now = self._now = self._renewed()
        nonce = next(now.numbers).to_bytes(_NONCE, "big")
        return now.header + nonce + now.cipher.encrypt(nonce, plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made.

        Raises:
            Unsealable: with none of our keys, or not in this context.
        """
        key_id, salt = sealed[1:5], sealed[5 : 5 + _SALT]
        if sealed[:1] != _VERSION or len(sealed) < _HEADER:
            raise Unsealable("sealed in another form")
        if key_id not in self._keys:
            self._look_for(key_id)
        nonce = sealed[5 + _SALT : _HEADER]
        try:
            return self._cipher(key_id, salt).decrypt(nonce, sealed[_HEADER:], context)
        except InvalidTag:
            raise Unsealable("changed, or sealed for another context") from None

    def _look_for(self, key_id: bytes) -> None:
        if time.monotonic() - self._reread_at > _LOOK_AGAIN:
            with contextlib.suppress(OSError, ValueError):
                self.refresh()
        if key_id not in self._keys:
            raise Unsealable("sealed by an unknown key")

    def secret(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, the same in every process and after a rotation.

        It is derived from the first master key.
        """
        return HKDFExpand(SHA256(), 32, b"mindstream/secret/" + purpose.encode()).derive(self._root)

    def digest(self, data: bytes, purpose: str) -> bytes:
        """A keyed digest of 32 bytes: guesses cannot be tried without the master key."""
        return hmac.digest(self._secret(purpose), data, "sha256")

    @lru_cache(64)  # noqa: B019 - a process has one sealer, which lives as long as it
    def _secret(self, purpose: str) -> bytes:
        return self.secret(purpose)


def _again(
    keys: tuple[bytes, ...], reread: Callable[[], Sequence[bytes]] | None, root: bytes
) -> Sealer:
    return Sealer(*keys, reread=reread, root=root)


def generation_of(sealed: bytes) -> str:
    """Which master key sealed this: its id, as eight hexadecimal digits."""
    return sealed[1:5].hex()


def _id_of(key: bytes) -> bytes:
    """Four bytes that tell master keys apart and say nothing about them."""
    return sha256(_derive(key, b"mindstream/id")).digest()[:4]
