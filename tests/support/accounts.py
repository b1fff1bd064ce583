"""Fakes behind the ports of credentials, and a house of accounts in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from adapters.attempts import LocalAttempts
from adapters.passwords import ArgonPasswords
from adapters.tokens import PublicKey, SignedTokens
from commands.accounts import RegisterPerson
from commands.bus import Bus
from commands.credentials import NewLogin, Rotation
from commands.logins import Logins, Visit
from domain.accounts.profile import Terms
from tests.support.memory_store import MemoryEventStore

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TERMS = Terms("v1.0", "v1.0", True, False)
PASSWORD = "a long walk by the river"


class MemoryCredentials:
    """``Credentials``, ``KeyStore`` and ``Endings`` in dicts."""

    def __init__(self) -> None:
        self.passwords: dict[UUID, str] = {}
        self.logins: dict[UUID, NewLogin] = {}
        self.ended: set[UUID] = set()
        self.tokens: dict[bytes, tuple[UUID, bool]] = {}
        self.keys: list[tuple[str, bytes, str]] = []

    async def set_password(self, user_id: UUID, password_hash: str) -> None:
        self.passwords[user_id] = password_hash

    async def password_hash(self, user_id: UUID) -> str | None:
        return self.passwords.get(user_id)

    async def forget(self, user_id: UUID) -> None:
        self.passwords.pop(user_id, None)

    async def begin(self, login: NewLogin, refresh_hash: bytes) -> None:
        self.logins[login.login_id] = login
        self.tokens[refresh_hash] = (login.login_id, False)

    async def rotate(self, used: bytes, replacement: bytes) -> Rotation | None:
        login_id, spent = self.tokens.get(used, (None, False))
        if login_id is None:
            return None
        user_id = self.logins[login_id].user_id
        if spent:
            self.ended.add(login_id)
            return Rotation(login_id, user_id, reused=True)
        if login_id in self.ended:
            return None
        self.tokens[used] = (login_id, True)
        self.tokens[replacement] = (login_id, False)
        return Rotation(login_id, user_id, reused=False)

    async def end(self, login_id: UUID) -> bool:
        first = login_id in self.logins and login_id not in self.ended
        self.ended.add(login_id)
        return first

    async def sweep(self, before: datetime) -> int:
        gone = [login_id for login_id in self.logins if login_id in self.ended]
        for login_id in gone:
            del self.logins[login_id]
        return len(gone)

    async def ended_within(self, seconds: float) -> list[UUID]:
        return list(self.ended)

    async def keep_first_key(self, kid: str, private_pem: bytes, public_jwk: str) -> None:
        if not self.keys:
            self.keys.append((kid, private_pem, public_jwk))

    async def signing_key(self) -> tuple[str, bytes] | None:
        return self.keys[-1][:2] if self.keys else None

    async def public_keys(self, overlap: float) -> list[PublicKey]:
        return [PublicKey(kid, jwk) for kid, _, jwk in reversed(self.keys)]


class House:
    """Everything that logins need, in memory, and a clock to be set."""

    def __init__(self, signing_key: bytes) -> None:
        self.now = NOON
        self.store = MemoryEventStore()
        self.credentials = MemoryCredentials()
        self.passwords = ArgonPasswords(memory_kib=64, passes=1)
        self.tokens = SignedTokens(self.credentials)
        self.attempts = LocalAttempts()
        self.bus = Bus(self.store)
        self.logins = Logins(
            bus=self.bus,
            store=self.store,
            credentials=self.credentials,
            passwords=self.passwords,
            tokens=self.tokens,
            attempts=self.attempts,
            new_id=uuid7,
        )
        self._signing_key = signing_key

    async def open(self) -> House:
        await self.tokens.ensure_key(self._signing_key)
        return self

    def visit(self, **changes: Any) -> Visit:
        values = {"now": self.now, "correlation_id": "req_1", "address": "192.0.2.7", "agent": "x"}
        return Visit(**{**values, **changes})

    def pass_time(self, **time: float) -> None:
        self.now += timedelta(**time)


def ada(**changes: Any) -> RegisterPerson:
    command = RegisterPerson(email="Ada@Example.com", display_name="Ada", terms=TERMS)
    return msgspec.structs.replace(command, **changes)
