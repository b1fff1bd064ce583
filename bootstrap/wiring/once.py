"""What runs once and ends: the set-up, the demo, an import from the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from adapters.homes import PostgresHomeless
from adapters.tokens import KeyRing
from bootstrap import demonstration
from bootstrap.settings import Settings
from bootstrap.wiring.reacting import begin_reactions
from bootstrap.wiring.write_side import WriteSide
from commands.homes import give_homes
from commands.logins import Visit
from commands.people_import import PeopleResult, import_people
from domain.accounts.person import Person
from domain.accounts.profile import email_key
from domain.operation import ERASURE, NewOperation, Operation
from workers.broker import Offers, redis_broker

LOOK_EVERY = 0.3
"""Seconds between looks at an operation that is waited for."""


async def setup(settings: Settings) -> Mapping[str, Any] | None:
    """Make the signing key, new reactions' rows, missing tenants, and the settings' operator."""
    side = WriteSide(settings)
    async with side.opened():
        # From here on they react: whoever registers next is to have mail.
        await begin_reactions(settings)
        await side.ensure_key()
        now, correlation_id = datetime.now(UTC), f"setup_{uuid7().hex}"
        await give_homes(PostgresHomeless(side.reads), side.store, now, correlation_id)
        if settings.operator_email and settings.operator_password:
            visit = Visit(now=now, correlation_id=correlation_id)
            await side.logins().ensure_operator(
                settings.operator_email, settings.operator_password, visit
            )
    return None


async def demo(settings: Settings) -> Mapping[str, Any] | None:
    """Fill a store that has nobody but the operator with a demo; a login, or None.

    The login is kept beside the data (``HOME/demo.json``, mode 0600), so that every start can
    tell it.
    """
    kept = settings.home / "demo.json"
    if kept.exists():
        found: dict[str, Any] = msgspec.json.decode(kept.read_bytes())
        return found
    side = WriteSide(settings)
    async with side.opened():
        people = await side.store.count_claims("accounts.email")
        if people > (1 if settings.operator_email else 0):
            return None
        login = await demonstration.fill(
            side.bus, side.logins(), now=datetime.now(UTC), new_id=uuid7
        )
    kept.touch(mode=0o600)
    kept.write_bytes(msgspec.json.encode(login))
    return msgspec.to_builtins(login)  # type: ignore[no-any-return]  # a dict, as a struct is


async def person_of(settings: Settings, who: str) -> UUID | None:
    """Who has this id or e-mail address; None where there is nobody."""
    side = WriteSide(settings)
    async with side.opened():
        try:
            stream: str | None = Person.stream(UUID(who))
        except ValueError:
            key = email_key(who)
            stream = (await side.store.holders("accounts.email", [key])).get(key)
        person = await side.store.load(Person, stream) if stream is not None else None
        return None if person is None else person.id


async def erase(settings: Settings, user_id: UUID, tell: Callable[[Operation], None]) -> Operation:
    """Have a worker erase this person, and wait until that is done."""
    side = WriteSide(settings)
    async with side.opened():
        person = await side.store.load(Person, Person.stream(user_id))
        assert person is not None
        now = datetime.now(UTC)
        new = NewOperation(
            id=uuid7(),
            kind=ERASURE,
            user_id=user_id,
            tenant_id=person.tenant_id,
            correlation_id=f"erasure_{uuid7().hex}",
            created_at=now,
            params={
                "requested_at": now,
                "erased": {"accounts_credentials": await side.credentials.drop_password(user_id)},
            },
        )
        accepted = await side.operations.accept(new)
        await side.credentials.end_all(user_id)
        await Offers(redis_broker(settings.redis_url or "", works=False)).offer(ERASURE, new.id)
        while accepted.finished_at is None:
            await asyncio.sleep(LOOK_EVERY)
            accepted = await side.operations.get_any(new.id) or accepted
            tell(accepted)
        return accepted


async def erasure_report(
    settings: Settings, operation_id: UUID
) -> tuple[dict[str, Any], bool] | None:
    """The report of an erasure, and whether its signature holds; None where there is none."""
    side = WriteSide(settings)
    async with side.opened():
        operation = await side.operations.get_any(operation_id)
        if operation is None or operation.kind != ERASURE or operation.result is None:
            return None
        keys = KeyRing(side.credentials)
        await keys.load()
        said: dict[str, Any] = msgspec.json.decode(operation.result)
        payload = keys.signed(said.get("signature", ""))
        rest = {name: value for name, value in said.items() if name != "signature"}
        return said, payload is not None and msgspec.json.decode(payload) == rest


async def import_diary(
    settings: Settings, path: Path, email: str, tell: Callable[[Operation], None]
) -> Operation | None:
    """Import a file for the person with this address; None where there is nobody."""
    # It brings a web framework along, for which no start should wait.
    from bootstrap import imports  # noqa: PLC0415

    side = WriteSide(settings)
    async with side.opened():
        key = email_key(email)
        holder = (await side.store.holders("accounts.email", [key])).get(key)
        person = await side.store.load(Person, holder) if holder is not None else None
        if person is None:
            return None
        return await imports.import_diary(
            path,
            person.id,
            person.tenant_id,
            operations=side.operations,
            offers=Offers(redis_broker(settings.redis_url or "", works=False)),
            new_id=uuid7,
            tell=tell,
        )


async def import_accounts(settings: Settings, path: Path, *, dry_run: bool) -> PeopleResult:
    """Import people with the hashes of their passwords; ``dry_run`` only checks the lines."""
    side = WriteSide(settings)
    visit = Visit(now=datetime.now(UTC), correlation_id=f"cli_{uuid7().hex}")
    async with side.opened():
        with path.open("rb") as file:
            return await import_people(file, side.logins(), visit, dry_run=dry_run)
