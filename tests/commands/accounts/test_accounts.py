from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from commands.accounts import (
    EMAIL,
    USERNAME,
    EndLogin,
    GrantPermissions,
    RecordConsent,
    RegisterPerson,
    RevisePerson,
    StartLogin,
)
from commands.bus import Bus
from commands.ports import Context, VersionConflict
from domain.accounts.events import LoggedIn, LoggedOut
from domain.accounts.person import EmailInUse, Person, UsernameInUse
from domain.accounts.profile import Changes, Terms
from domain.errors import NotFound, Stale
from tests.support.accounts import NOON, TERMS, ada
from tests.support.memory_store import MemoryEventStore

pytestmark = pytest.mark.anyio


def by(user: int) -> Context:
    return Context(
        user_id=UUID(int=user),
        tenant_id=UUID(int=100 + user),
        actor=f"user:{UUID(int=user)}",
        now=NOON,
        correlation_id="req_1",
    )


class World:
    def __init__(self) -> None:
        self.store = MemoryEventStore()
        self.bus = Bus(self.store)

    async def do(self, command: object, user: int = 1) -> Any:
        return (await self.bus.dispatch(command, by(user))).result


@pytest.fixture
def world() -> World:
    return World()


async def test_a_person_is_registered_with_claims_on_address_and_name(world: World) -> None:
    person = await world.do(ada(username="Ada-L"))
    assert (person.id, person.tenant_id, person.version) == (UUID(int=1), UUID(int=101), 2)
    assert person.email == "Ada@Example.com"
    stream = Person.stream(UUID(int=1))
    assert world.store.claims == {
        (EMAIL, "ada@example.com"): stream,
        (USERNAME, "ada-l"): stream,
    }
    assert await world.store.load(Person, stream) == person


async def test_an_address_is_registered_once_however_it_is_cased(world: World) -> None:
    await world.do(ada())
    with pytest.raises(EmailInUse):
        await world.do(ada(email="ADA@example.COM"), user=2)
    assert len(world.store.events) == 3


async def test_a_name_is_given_once_however_it_is_cased(world: World) -> None:
    await world.do(ada(username="ada"))
    with pytest.raises(UsernameInUse):
        await world.do(ada(email="other@example.com", username="ADA"), user=2)


async def test_a_changed_name_frees_the_old_one(world: World) -> None:
    await world.do(ada(username="ada"))
    person = await world.do(RevisePerson(2, Changes(username="lovelace")))
    assert person.username == "lovelace"
    await world.do(ada(email="other@example.com", username="ada"), user=2)
    with pytest.raises(UsernameInUse):
        await world.do(RevisePerson(2, Changes(username="Lovelace")), user=2)
    await world.do(RevisePerson(None, Changes(username=None)))
    await world.do(RevisePerson(None, Changes(username="lovelace")), user=2)


async def test_a_name_may_change_its_case(world: World) -> None:
    await world.do(ada(username="ada"))
    assert (await world.do(RevisePerson(2, Changes(username="Ada")))).username == "Ada"


async def test_a_stale_revision_is_refused_and_an_empty_one_changes_nothing(world: World) -> None:
    await world.do(ada())
    with pytest.raises(Stale):
        await world.do(RevisePerson(1, Changes(bio="x")))
    assert (await world.do(RevisePerson(2, Changes(display_name="Ada")))).version == 2
    assert len(world.store.events) == 3


async def test_nobody_revises_a_person_who_is_not_there(world: World) -> None:
    with pytest.raises(NotFound):
        await world.do(RevisePerson(None, Changes(bio="x")))


async def test_a_consent_is_recorded_with_address_and_agent(world: World) -> None:
    await world.do(ada())
    terms = Terms("v2.0", "v1.0", True, True)
    person = await world.do(RecordConsent(terms, "192.0.2.1", "Firefox"))
    assert (person.version, person.consent.terms_version) == (3, "v2.0")
    assert (person.consent.address, person.consent.agent) == ("192.0.2.1", "Firefox")
    again = await world.do(RecordConsent(terms, "192.0.2.2", None))
    assert again == person
    with pytest.raises(Stale):
        await world.do(RecordConsent(TERMS, None, None, 2))


async def test_permissions_are_granted_to_somebody_else(world: World) -> None:
    await world.do(ada())
    person = await world.do(GrantPermissions(UUID(int=1), ("ops:read",)), user=2)
    assert "ops:read" in person.permissions


async def test_a_login_begins_and_ends_once(world: World) -> None:
    login_id = UUID(int=9)
    await world.do(StartLogin(login_id, "192.0.2.1", "Firefox"))
    await world.do(EndLogin(login_id, "logout"))
    await world.do(EndLogin(login_id, "refresh_token_reused"))
    assert [type(recorded.event) for recorded in world.store.events] == [LoggedIn, LoggedOut]


async def test_the_end_of_a_login_that_was_never_told_is_nothing(world: World) -> None:
    await world.do(EndLogin(UUID(int=9), "logout"))
    assert world.store.events == []


class Contended(MemoryEventStore):
    """Another commit is first, some times."""

    def __init__(self) -> None:
        super().__init__()
        self.conflicts = 0

    async def append(self, context: Any, *appends: Any, **options: Any) -> Any:
        if self.conflicts:
            self.conflicts -= 1
            raise VersionConflict(appends[0].stream_id)
        return await super().append(context, *appends, **options)


async def test_whoever_expects_no_version_is_not_bothered_by_others() -> None:
    store = Contended()
    bus = Bus(store)
    await bus.dispatch(ada(), by(1))
    store.conflicts = 3
    outcome = await bus.dispatch(RecordConsent(Terms("v2", "v2", True, True), None, None), by(1))
    assert outcome.result.consent.terms_version == "v2"
    store.conflicts = 99
    with pytest.raises(VersionConflict):
        await bus.dispatch(RevisePerson(None, Changes(bio="x")), by(1))


def test_commands_hold_no_secret() -> None:
    fields = {*RegisterPerson.__struct_fields__, *StartLogin.__struct_fields__}
    assert not any("password" in field or "token" in field for field in fields)
