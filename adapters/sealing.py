"""AES-256-GCM under the master key: for secrets and answers that lie in tables.

Owns the form of what is sealed::

    version (1 byte) | master key's id (4) | salt (16) | nonce (12) | ciphertext and tag

Each process draws a salt and derives a key of its own from it, and counts its nonces. So no nonce
is ever used twice under one key, however much is sealed, which random nonces could not promise.
The id lets a rotated master key live on for what it sealed.
"""

from __future__ import annotations

import hmac
import itertools
import os
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
_SALT, _NONCE = 16, 12
_HEADER = 1 + 4 + _SALT + _NONCE


class Unsealable(Exception):
    """Not sealed by a key that we have, for another context, or changed since."""


def _derive(master_key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(master_key)


class Sealer:
    """Seals with ``master_key`` (32 bytes), opens with that or one of the ``older`` ones.

    Raises:
        ValueError: a key has not 32 bytes.
    """

    def __init__(self, master_key: bytes, *older: bytes) -> None:
        if any(len(key) != 32 for key in (master_key, *older)):
            raise ValueError("a master key has 32 bytes")
        self._master_key = master_key
        self._keys = {_id_of(key): key for key in (*older, master_key)}
        self._cipher = lru_cache(256)(self._derived)
        self._renew()

    def __reduce__(self) -> Any:
        """Another process has the same keys and a salt of its own."""
        older = [key for key in self._keys.values() if key != self._master_key]
        return Sealer, (self._master_key, *older)

    def _renew(self) -> None:
        """Begin with a new salt: in a new process, which a fork is too."""
        self._pid = os.getpid()
        self._count = itertools.count()
        salt = os.urandom(_SALT)
        key_id = _id_of(self._master_key)
        self._header = _VERSION + key_id + salt
        self._sealing = self._derived(key_id, salt)

    def _derived(self, key_id: bytes, salt: bytes) -> AESGCM:
        return AESGCM(_derive(self._keys[key_id], b"mindstream/sealing", salt))

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        if os.getpid() != self._pid:
            self._renew()
        nonce = next(self._count).to_bytes(_NONCE, "big")
        return self._header + nonce + self._sealing.encrypt(nonce, plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made.

        Raises:
            Unsealable: with none of our keys, or not in this context.
        """
        key_id, salt = sealed[1:5], sealed[5 : 5 + _SALT]
        if sealed[:1] != _VERSION or len(sealed) < _HEADER or key_id not in self._keys:
            raise Unsealable("sealed in another form or by an unknown key")
        nonce = sealed[5 + _SALT : _HEADER]
        try:
            return self._cipher(key_id, salt).decrypt(nonce, sealed[_HEADER:], context)
        except InvalidTag:
            raise Unsealable("changed, or sealed for another context") from None

    def secret(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, the same in every process with this master key."""
        return _derive(self._master_key, b"mindstream/secret/" + purpose.encode())

    def digest(self, data: bytes, purpose: str) -> bytes:
        """A keyed digest of 32 bytes: guesses cannot be tried without the master key."""
        return hmac.digest(self._secret(purpose), data, "sha256")

    @lru_cache(64)  # noqa: B019 - a process has one sealer, which lives as long as it
    def _secret(self, purpose: str) -> bytes:
        return self.secret(purpose)


def generation_of(sealed: bytes) -> str:
    """Which master key sealed this: its id, as eight hexadecimal digits."""
    return sealed[1:5].hex()


def _id_of(key: bytes) -> bytes:
    """Four bytes that tell master keys apart and say nothing about them."""
    return sha256(_derive(key, b"mindstream/id")).digest()[:4]
