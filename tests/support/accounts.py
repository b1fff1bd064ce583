"""Fakes behind the ports of credentials, and a house of accounts in memory."""

from __future__ import annotations

from collections.abc import Sequence
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
from commands.second_factor import SecondFactor, Seed
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

    async def end(self, login_id: UUID, of: UUID | None = None) -> bool:
        login = self.logins.get(login_id)
        if of is not None and (login is None or login.user_id != of):
            return False
        first = login is not None and login_id not in self.ended
        self.ended.add(login_id)
        return first

    async def end_all(self, user_id: UUID) -> int:
        return sum([await self.end(login_id, user_id) for login_id in self.logins])

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


class MemorySeeds:
    """``Seeds`` in dicts."""

    def __init__(self) -> None:
        self.seeds: dict[UUID, Seed] = {}
        self.recovery: dict[UUID, set[bytes]] = {}
        self.steps: dict[UUID, int] = {}

    async def begin_totp(self, user_id: UUID, seed: Seed, recovery: Sequence[bytes]) -> bool:
        kept = self.seeds.get(user_id)
        if kept is not None and kept.confirmed:
            return False
        self.seeds[user_id], self.recovery[user_id] = seed, set(recovery)
        self.steps[user_id] = 0
        return True

    async def seed(self, user_id: UUID) -> Seed | None:
        return self.seeds.get(user_id)

    async def confirm_totp(self, user_id: UUID, seed_id: UUID) -> bool:
        kept = self.seeds.get(user_id)
        if kept is None or kept.id != seed_id:
            return False
        self.seeds[user_id] = msgspec.structs.replace(kept, confirmed=True)
        return True

    async def use_step(self, user_id: UUID, step: int) -> bool:
        if self.steps.get(user_id, step) >= step:
            return False
        self.steps[user_id] = step
        return True

    async def use_recovery(self, user_id: UUID, code_hash: bytes) -> int | None:
        kept = self.seeds.get(user_id)
        codes = self.recovery.get(user_id, set())
        if kept is None or not kept.confirmed or code_hash not in codes:
            return None
        codes.remove(code_hash)
        return len(codes)

    async def forget_totp(self, user_id: UUID) -> bool:
        return self.seeds.pop(user_id, None) is not None


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
        self.seeds = MemorySeeds()
        self.second_factor = SecondFactor(
            bus=self.bus, store=self.store, seeds=self.seeds, new_id=uuid7
        )
        self.logins = Logins(
            bus=self.bus,
            store=self.store,
            credentials=self.credentials,
            passwords=self.passwords,
            tokens=self.tokens,
            attempts=self.attempts,
            second_factor=self.second_factor,
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
