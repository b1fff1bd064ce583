"""Passwords: Argon2id for new ones; imported bcrypt verifies and is upgraded.

A hash costs some 45 ms and 32 MiB on purpose. So they are made on a few threads of their own, and
no more may wait for those than a client would have patience for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import bcrypt
from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

from commands.credentials import Unavailable, password_faults
from domain.faults import Fault

T = TypeVar("T")

MEMORY_KIB = 32_768
PASSES = 2
_BCRYPT_BYTES = 72


class ArgonPasswords:
    """``commands.credentials.Passwords``: ``threads`` at once, ``waiting`` more at most."""

    def __init__(
        self,
        *,
        threads: int = 2,
        waiting: int = 100,
        memory_kib: int = MEMORY_KIB,
        passes: int = PASSES,
    ) -> None:
        argon = Argon2Hasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._hashes = PasswordHash((argon,))
        # Nobody's password: it costs an unknown person what a wrong password costs a known one.
        self._nobody = self._hashes.hash("no password hashes to this one, as it is never compared")
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._free = threads + waiting

    async def hash(self, password: str) -> str:
        """A new Argon2id hash; raises ``Unavailable`` while too many wait."""
        return await self._run(self._hashes.hash, password)

    async def verify(self, password: str, password_hash: str | None) -> tuple[bool, str | None]:
        """Whether it fits, and a new hash where the old one is outdated."""
        right, better = await self._run(self._verify, password, password_hash or self._nobody)
        return (right, better) if password_hash is not None else (False, None)

    def _verify(self, password: str, password_hash: str) -> tuple[bool, str | None]:
        try:
            if not password_hash.startswith("$2"):
                return self._hashes.verify_and_update(password, password_hash)
            # Whoever made the hash looked at no more than this of the password, as bcrypt does.
            looked_at = password.encode()[:_BCRYPT_BYTES]
            right = bcrypt.checkpw(looked_at, password_hash.encode("ascii"))
            return right, self._hashes.hash(password) if right else None
        except (UnknownHashError, ValueError):
            return False, None

    async def faults(self, password: str, hints: Collection[str]) -> list[Fault]:
        """What speaks against a new password; raises ``Unavailable`` while too many wait."""
        return await self._run(password_faults, password, hints)

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._free <= 0:
            raise Unavailable("too many passwords wait to be hashed")
        self._free -= 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, *arguments)
        finally:
            self._free += 1

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
