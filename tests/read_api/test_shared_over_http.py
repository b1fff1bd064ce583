"""Two read APIs over one cache: what one has read the other gives, and nobody gets anything old."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from bootstrap import wiring
from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from projections.engine.rebuild import Options
from read_api import recent
from tests.support.apps import lifespan, served
from tests.support.somebody import Somebody, somebody
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

ENTRIES = "/v1/journal/entries"


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
async def other(settings: Settings, api: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Another read API."""
    app = wiring.read_api_app(settings)
    async with lifespan(app):
        transport = httpx.ASGITransport(app, client=("192.0.2.8", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield client


def counted(what: str, kind: str) -> float:
    return REGISTRY.get_sample_value(f"mindstream_cache_{what}_total", {"cache": kind}) or 0.0


async def write(person: Somebody, number: int) -> dict[str, Any]:
    body = {"date": f"2024-01-{number:02}", "title": f"day {number}", "content": "dear diary"}
    answer = await person.call("POST", ENTRIES, body)
    assert answer.status_code == 201, answer.text
    entry: dict[str, Any] = answer.json()["data"]
    return entry


async def read(client: httpx.AsyncClient, person: Somebody, path: str) -> Any:
    """What is answered, as fresh as the person's last write."""
    headers = {**person.headers, "consistency-token": person.token}
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def is_shared(client: httpx.AsyncClient, person: Somebody, path: str, kind: str) -> None:
    """Read until the answer comes from the cache."""

    async def hit() -> bool:
        before = counted("hits", kind)
        await read(client, person, path)
        return counted("hits", kind) > before

    await eventually_async(hit)


async def spoil(settings: Settings, person: Somebody) -> None:
    """Change rows behind everybody's back, so that it shows who looks at them."""
    with psycopg.connect(settings.owner_dsn or "", autocommit=True) as connection:
        connection.execute(
            "UPDATE journal_entries SET document = replace(document::text, 'day', 'spoiled')::json"
            " WHERE user_id = %s",
            (person.id,),
        )


async def test_what_one_process_has_read_another_gives(
    settings: Settings,
    api: httpx.AsyncClient,
    other: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recent, "LIFETIME", 0.0)  # each asks the shared cache every time
    person = await somebody(api)
    await write(person, 1)
    page, me = await read(api, person, ENTRIES), await read(api, person, "/v1/me")
    assert [entry["title"] for entry in page] == ["day 1"]
    assert me["statistics"]["total_entries"] == 1
    for client in (api, other):
        await is_shared(client, person, "/v1/me", "profile")
        await is_shared(client, person, ENTRIES, "recent")
    await spoil(settings, person)
    before = counted("hits", "recent")
    assert await read(other, person, ENTRIES) == page
    assert counted("hits", "recent") == before + 1
    assert await read(other, person, "/v1/me") == me
    # Other pages are nobody's business but the database's.
    [entry] = await read(other, person, f"{ENTRIES}?limit=19")
    assert entry["title"] == "spoiled 1"


async def test_everybody_reads_their_own_writes_wherever(
    api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    person = await somebody(api)
    for number in range(1, 25):
        await write(person, number)
        for client in (other, api):
            page = await read(client, person, ENTRIES)
            assert page[0]["title"] == f"day {number}"
            me = await read(client, person, "/v1/me")
            assert me["statistics"]["total_entries"] == number
    revised = await person.call("PATCH", "/v1/me", {"bio": "new"}, if_match=f'"{me["version"]}"')
    assert revised.status_code == 200, revised.text
    assert (await read(other, person, "/v1/me"))["bio"] == "new"


async def test_the_trend_of_moods_follows_every_entry(
    settings: Settings, api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    person = await somebody(api)
    path = "/v1/analytics/mood"
    zones = ("Europe/Lisbon", "Pacific/Kiritimati")  # a day apart most of the time

    async def days(client: httpx.AsyncClient, zone: str = zones[0]) -> tuple[str, int]:
        series = await read(client, person, f"{path}?tz={zone}")
        [only] = series["series"]
        assert len(only["points"]) == 30
        return only["points"][-1]["bucket"], sum(point["entries"] for point in only["points"])

    for number in range(1, 4):
        date = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(number)
        answer = await person.call(
            "POST", ENTRIES, {"date": str(date), "title": "t", "content": "c", "mood": "happy"}
        )
        assert answer.status_code == 201, answer.text
        for client in (other, api, other):
            assert (await days(client))[1] == number
    await is_shared(other, person, f"{path}?tz={zones[0]}", "trend")
    # Whoever asks for another zone's days gets those.
    east, count = await days(other, zones[1])
    assert east.endswith("+14:00")
    assert count == 3


async def test_a_repair_shows_at_once(
    settings: Settings, api: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    person = await somebody(api)
    entry = await write(person, 1)
    await read(api, person, f"{ENTRIES}?limit=19")  # the row is there
    await spoil(settings, person)
    assert [one["title"] for one in await read(api, person, ENTRIES)] == ["spoiled 1"]
    side = wiring.WriteSide(settings)
    engine = DirectEngine(settings.write_dsn or "", side.keys)
    options = Options(key=entry["id"])
    engine.rebuild("journal.entries", options, uuid7(), lambda progress: "go")

    async def repaired() -> bool:
        [one] = await read(other, person, ENTRIES)
        return bool(one["title"] == "day 1")

    await eventually_async(repaired)
