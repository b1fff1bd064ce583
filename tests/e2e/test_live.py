"""Live connections through the gateway: streaming, noticed when they go, resumed after a kill."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import httpx
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.listening import streaming, talking
from tests.support.people import People, Person
from tests.support.rough import kill
from tests.support.upped import Up
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio


def headers_of(person: Person) -> dict[str, str]:
    return {"Authorization": person.authorization}


async def write(person: Person, date: str, **fields: Any) -> dict[str, Any]:
    answer = await asyncio.to_thread(person.write, date, **fields)
    found: dict[str, Any] = answer.json()["data"]
    return found


async def test_both_pass_the_gateway(up: Up, person: Person) -> None:
    token = person.authorization.removeprefix("Bearer ")
    async with (
        streaming(up.gateway, headers_of(person)) as stream,
        talking(
            up.gateway,
            {"Origin": up.gateway},
            "?topics=journal",
            protocols=("bearer", token),
            autoping=False,
        ) as socket,
    ):
        assert socket.protocol == "bearer"
        assert stream.answer.headers["x-accel-buffering"] == "no"
        assert stream.answer.headers["cache-control"] == "no-store"
        entry = await write(person, "2024-01-01", title="Café")
        event = await stream.event()
        assert event is not None
        assert event["data"]["data"]["title"] == "Café"
        message = await socket.receive_json(timeout=10)
        assert (message["type"], message["data"]["entry_id"]) == ("EntryWritten", entry["id"])
        assert str(message["position"]) == event["id"]
        await socket.ping(b"hello")
        pong = await socket.receive(timeout=10)
        assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"hello")
        logout = await asyncio.to_thread(person.post, "/v1/auth/logout")
        assert logout.status_code == 204
        await stream.until_end(within=4)
        closed = await socket.receive(timeout=4)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 4401)


async def test_what_is_refused_is_a_problem_with_its_status(up: Up, person: Person) -> None:
    foreign = headers_of(person) | {"Origin": "https://evil.example.com"}
    for headers, query, status in (
        ({}, "", 401),
        (foreign, "", 403),
        (headers_of(person), "?topics=Nonsense", 422),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with talking(up.gateway, headers, query):
                pass
        assert refused.value.status == status
        assert refused.value.headers is not None
        assert refused.value.headers["content-type"] == "application/problem+json"


async def test_a_client_that_goes_is_noticed_at_once(up: Up, person: Person) -> None:
    """Else those who come and go would soon have too many connections."""
    for _ in range(25):
        async with streaming(up.gateway, headers_of(person)):
            pass
        async with talking(up.gateway, headers_of(person)):
            pass

    async def all_are_gone() -> bool:
        async with httpx.AsyncClient(base_url=up.gateway) as client:
            page = (await client.get("/metrics")).text
        counts = [
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.startswith("mindstream_live_connections{")
        ]
        assert len(counts) == 2
        return not any(counts)

    await eventually_async(all_are_gone, within=5)


async def test_a_killed_api_loses_nothing_of_a_stream(rough: Up, crowd: People) -> None:
    person = await asyncio.to_thread(crowd.new)
    days = [f"2024-02-{day:02}" for day in range(1, 25)]
    seen: list[tuple[str, str]] = []
    done = asyncio.Event()

    async def follow() -> None:
        last: str | None = "0"
        while not done.is_set():
            try:
                async with streaming(
                    rough.gateway, headers_of(person), "?topics=journal", last=last
                ) as stream:
                    while (event := await stream.event(30)) is not None:
                        seen.append((event["id"], event["data"]["data"]["date"]))
                        last = event["id"]
                        if len(seen) >= len(days):
                            done.set()
            except (httpx.TransportError, AssertionError):
                await asyncio.sleep(0.05)  # it is being started again

    following = asyncio.create_task(follow())
    for number, day in enumerate(days):
        if number % 8 == 4:
            await asyncio.to_thread(kill, rough, "read-api")
        await write(person, day)
    async with asyncio.timeout(30):
        await done.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert [date for _, date in seen] == days
    assert len({position for position, _ in seen}) == len(days)


async def test_an_operator_hears_of_nobody_else(up: Up, people: People, person: Person) -> None:
    operator = await asyncio.to_thread(people.log_in, *OPERATOR)
    async with streaming(up.gateway, headers_of(operator)) as stream:
        await write(person, "2024-01-01")
        mine = await write(operator, "2023-05-05")
        event = await stream.event()
    assert event is not None
    assert event["data"]["data"]["entry_id"] == mine["id"]
