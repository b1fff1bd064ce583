"""An erasure over HTTP and its worker: accepted once, not to be cancelled, finished by whoever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import redis.asyncio as redis

from bootstrap import wiring
from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from bootstrap.wiring.erasure import erasing_of
from domain.accounts.person import Person
from tests.support.apps import served
from tests.support.somebody import Somebody, ends, somebody
from tests.support.waiting import eventually_async
from workers.erasure import Erasing, erase_person

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def api(settings: Settings, signing_key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings, jwt_private_key_file=pem, rate_limit_per_minute=100_000
    )
    async with served(changed) as client:
        yield client


@pytest.fixture(scope="module")
async def erasing(settings: Settings, api: httpx.AsyncClient) -> AsyncIterator[Erasing]:
    side = wiring.WriteSide(settings)
    async with side.opened():
        yield erasing_of(settings, side, DirectEngine(settings.write_dsn or "", side.keys))


class Fails:
    """A store that is away the first time."""

    name = "away"

    def __init__(self) -> None:
        self.asked: list[UUID] = []

    async def erase(self, person: Person, operation_id: UUID) -> int:
        self.asked.append(person.id)
        if len(self.asked) == 1:
            raise ConnectionError
        return 7


async def diarist(api: httpx.AsyncClient) -> Somebody:
    person = await somebody(api)
    await person.login()
    body = {"date": "2024-01-01", "title": "t", "content": "c", "tags": ["x"]}
    answer = await api.post("/v1/journal/entries", json=body, headers=person.headers)
    assert answer.status_code == 201
    fresh = {**person.headers, "consistency-token": answer.headers["consistency-token"]}
    assert (await api.get("/v1/journal/entries", headers=fresh)).status_code == 200
    return person


async def kept_in_redis(settings: Settings, person: Somebody) -> set[str]:
    """What of the person the cache keeps, and what waits to be kept."""
    assert settings.redis_url is not None
    async with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        kept = {f"user:{person.id}:profile", f"journals:user:{person.id}:recent"}
        return kept & {key async for key in client.scan_iter(f"*{person.id}*")}


async def test_who_goes_on_with_an_erasure_reports_what_the_first_one_did(
    settings: Settings, api: httpx.AsyncClient, erasing: Erasing
) -> None:
    person = await diarist(api)

    async def is_kept() -> bool:
        await api.get("/v1/journal/entries", headers=person.headers)
        return bool(await kept_in_redis(settings, person))

    await eventually_async(is_kept)
    key = {"idempotency-key": "once"}
    asked = await api.post("/v1/me/erasure", headers={**person.headers, **key})
    assert asked.status_code == 202
    operation = asked.json()["data"]
    assert (operation["kind"], operation["state"]) == ("accounts.erasure", "pending")
    path = asked.headers["location"]
    away = Fails()
    failing = msgspec.structs.replace(erasing, then=[*erasing.then, away])
    await erase_person(UUID(operation["id"]), failing)
    halfway = (await api.get(path, headers=person.headers)).json()["data"]
    assert (halfway["state"], halfway["result"]) == ("running", None)

    async def done() -> bool:
        await erase_person(UUID(operation["id"]), failing)  # the lease has to run out first
        found = await api.get(path, headers=person.headers)
        return bool(found.json()["data"]["state"] == "succeeded")

    await eventually_async(done, within=30)
    result: dict[str, Any] = (await api.get(path, headers=person.headers)).json()["data"]["result"]
    assert away.asked == [UUID(person.id)] * 2
    erased = result["erased"]
    assert erased["away"] == 7
    assert erased["cache"] == 1
    assert not await kept_in_redis(settings, person)
    assert erased["subject_keys"] == erased["journal_entries"] == erased["accounts_people"] == 1
    assert erased["accounts_credentials"] == 1
    assert erased["accounts_refresh_tokens"] == erased["accounts_logins"] == 2
    # Of a second erasure there is nothing to tell, and nothing fails on it.
    events = await erasing.store.read(Person.stream(UUID(person.id)))
    assert sum(type(each.event).__name__ == "SubjectErased" for each in events) == 1


async def test_there_is_no_way_back(api: httpx.AsyncClient, erasing: Erasing) -> None:
    person = await diarist(api)
    before = dict(person.headers)
    refused = await api.post("/v1/me/erasure", headers=before, json={"really": True})
    assert refused.status_code == 400
    asked = await api.post("/v1/me/erasure", headers=before)
    path = asked.headers["location"]
    operation_id = UUID(asked.json()["data"]["id"])
    # By now the login may be known to have ended; whoever comes before that changes nothing.
    cancelled = await erasing.operations.cancel(  # type: ignore[attr-defined]
        operation_id, UUID(person.id)
    )
    assert cancelled.state == "pending"
    assert (await person.try_to_login()).status_code == 401
    await ends(lambda: api.get("/v1/me", headers=before))
    assert (await api.get(path, headers=before)).status_code == 200
    assert (await api.head(path, headers=before)).status_code == 200
    assert (await api.get(f"{path}/x", headers=before)).status_code in (401, 404)
    assert (await api.get("/v1/journal/entries", headers=before)).status_code == 401
    stranger = await somebody(api)
    await stranger.login()
    assert (await api.get(path, headers=stranger.headers)).status_code == 404
    await erase_person(operation_id, erasing)
    found = (await api.get(path, headers=before)).json()["data"]
    assert found["state"] == "succeeded"
    assert found["result"]["erased"]["journal_entries"] == 1


async def test_nobody_is_asked_for_who_is_not_there(
    api: httpx.AsyncClient, erasing: Erasing
) -> None:
    assert (await api.post("/v1/me/erasure")).status_code == 401
