"""Streams and WebSockets as a client meets them, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import msgspec
import pytest
import redis.asyncio as redis

from bootstrap.settings import Settings
from tests.support.apps import served
from tests.support.listening import listening, streaming, talking
from tests.support.newcomers import Newcomer, logged_in, newcomer
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

ENTRIES = "/v1/journal/entries"
ENTRY = {"title": "A day", "content": "Up, and to the office."}
PAGE = "https://app.example.com"
FOREIGN = "https://evil.example.com"
COMMENT = 0.2
OPERATOR = ("ops@localhost", "ops")


@pytest.fixture(scope="module")
def changed(settings: Settings, signing_key: bytes) -> Settings:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    return msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=10_000,
        live_comment_seconds=COMMENT,
        live_connections=4,
        cors_origins=(PAGE,),
        operator_email=OPERATOR[0],
        operator_password=OPERATOR[1],
    )


@pytest.fixture(scope="module")
async def api(changed: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with served(changed) as client:
        yield client


@pytest.fixture(scope="module")
async def live(api: httpx.AsyncClient, changed: Settings) -> AsyncIterator[str]:
    async with listening(changed) as url:
        yield url


@pytest.fixture
async def ada(api: httpx.AsyncClient) -> Newcomer:
    return await newcomer(api)


async def write(who: Newcomer, day: int, **fields: Any) -> dict[str, Any]:
    body = {**ENTRY, "date": f"2024-01-{day:02}", **fields}
    answer = await who.call("POST", ENTRIES, body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


async def refused(url: str, headers: dict[str, str], query: str = "") -> httpx.Response:
    """An answer that is no stream."""
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.get(f"/v1/stream{query}", headers=headers, timeout=5)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer


async def upgrade_refused(url: str, headers: dict[str, str], **options: Any) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as error:
        async with talking(url, headers, **options):
            pass
    return error.value.status


async def closing(socket: aiohttp.ClientWebSocketResponse) -> int:
    """The code with which it is closed; messages before it are passed over."""
    async with asyncio.timeout(10):
        while True:
            message = await socket.receive()
            if message.type == aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            assert message.type == aiohttp.WSMsgType.TEXT, message


async def test_an_event_comes_to_its_owner_opened(live: str, ada: Newcomer) -> None:
    async with streaming(live, ada.headers) as stream:
        headers = stream.answer.headers
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-request-id"]
        assert "ratelimit" in headers
        entry = await write(ada, 1, tags=["work"])
        event = await stream.event()
    assert event is not None
    told = event["data"]
    assert event["event"] == "journal.EntryWritten"
    assert event["id"] == str(told["position"])
    assert told["topic"] == "journal.EntryWritten.v1"
    assert told["stream_id"].endswith(entry["id"])
    assert told["timestamp"].endswith("Z")
    data = told["data"]
    assert (data["entry_id"], data["user_id"]) == (entry["id"], ada.id)
    assert (data["title"], data["content"], data["tags"]) == (
        ENTRY["title"],
        ENTRY["content"],
        ["work"],
    )


async def test_who_comes_back_gets_what_they_missed_once(live: str, ada: Newcomer) -> None:
    async with streaming(live, ada.headers, "?topics=journal") as stream:
        await write(ada, 1)
        first = await stream.event()
    assert first is not None
    for day in range(2, 6):
        await write(ada, day)
    async with streaming(live, ada.headers, "?topics=journal&after=0", last=first["id"]) as stream:
        missed = [await stream.event() for _ in range(4)]
        await write(ada, 6)
        missed.append(await stream.event())
    dates = [event["data"]["data"]["date"] for event in missed if event]
    assert dates == [f"2024-01-{day:02}" for day in range(2, 7)]
    async with streaming(live, ada.headers, "?topics=journal&after=0") as stream:
        again = await stream.event()
    assert again == first


async def test_nobody_hears_of_others(live: str, api: httpx.AsyncClient, ada: Newcomer) -> None:
    eve = await newcomer(api)
    async with (
        streaming(live, eve.headers, last=0) as theirs,
        talking(live, eve.headers, "?after=0") as socket,
    ):
        await write(ada, 1)
        await write(ada, 2, is_private=False)
        mine = await write(eve, 3)
        seen = []
        while not seen or seen[-1]["data"]["data"].get("entry_id") != mine["id"]:
            event = await theirs.event()
            assert event is not None
            seen.append(event)
        over: list[Any] = []
        while not over or over[-1]["data"].get("entry_id") != mine["id"]:
            over.append(await socket.receive_json(timeout=10))
    assert {event["data"]["data"]["user_id"] for event in seen} == {eve.id}
    assert {message["data"]["user_id"] for message in over} == {eve.id}
    # Their own past is theirs to see, logins included.
    names = [event["event"] for event in seen]
    assert names[0] == "accounts.PersonRegistered"
    assert "accounts.LoggedIn" in names


async def test_topics_choose(live: str, ada: Newcomer) -> None:
    first = await write(ada, 1)
    path = f"{ENTRIES}/{first['id']}"
    async with (
        streaming(live, ada.headers, "?topics=EntryDeleted,journal.EntryRestored") as few,
        streaming(live, ada.headers, "?topics=accounts") as none,
        streaming(live, ada.headers, "?topics=journal") as all_,
    ):
        revised = await ada.call("PATCH", path, {"title": "Another"}, if_match='"1"')
        assert revised.status_code == 200
        deleted = await ada.call("DELETE", path, if_match='"2"')
        assert deleted.status_code == 204
        event = await few.event()
        assert event is not None
        assert event["event"] == "journal.EntryDeleted"
        assert "title" not in event["data"]["data"]
        changed = await ada.call("PATCH", "/v1/me", {"bio": "Clerk"}, if_match="*")
        assert changed.status_code == 200, changed.text
        event = await none.event()
        assert event is not None
        assert event["event"] == "accounts.ProfileRevised"
        assert event["data"]["data"] == {"user_id": ada.id, "bio": "Clerk"}
        names = [(await all_.event() or {})["event"] for _ in range(2)]
        assert names == ["journal.EntryRevised", "journal.EntryDeleted"]


@pytest.mark.parametrize(
    ("query", "last", "fields"),
    [
        ("?topics=Nonsense", None, ["topics.0"]),
        ("?topics=journal,ops", None, ["topics.1"]),
        ("?topics=flags.FlagSet", None, ["topics.0"]),
        ("?topics=", None, ["topics.0"]),
        ("?topics=TenantSuspended,,SubjectErased", None, ["topics.0", "topics.1", "topics.2"]),
        ("?after=-1", None, ["after"]),
        ("?after=999999999", None, ["after"]),
        ("?nonsense=1&topics=x", "x", ["nonsense", "Last-Event-ID"]),
        ("?topics=x", "-1", ["topics.0", "Last-Event-ID"]),
        ("", "999999999", ["Last-Event-ID"]),
        ("", "1.5", ["Last-Event-ID"]),
    ],
)
async def test_what_is_wrong_is_named(
    live: str, ada: Newcomer, query: str, last: str | None, fields: list[str]
) -> None:
    headers = ada.headers if last is None else ada.headers | {"Last-Event-ID": last}
    answer = await refused(live, headers, query)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_FAILED")
    assert [fault["field"] for fault in answer.json()["errors"]] == fields
    if last is None:
        assert await upgrade_refused(live, ada.headers, query=query) == 422


async def test_silence_is_broken_by_comments(live: str, ada: Newcomer) -> None:
    async with streaming(live, ada.headers) as stream:
        assert await stream.comment() == await stream.comment() == ": still here"
    async with httpx.AsyncClient(base_url=live) as client:
        answer = await client.head("/v1/stream", headers=ada.headers)
        assert (answer.status_code, answer.content) == (200, b"")


async def test_doors(live: str, api: httpx.AsyncClient, ada: Newcomer) -> None:
    for headers in ({}, {"authorization": "Bearer x"}, {"x-api-key": "ms_x"}):
        answer = await refused(live, headers, "?topics=x")
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
        assert await upgrade_refused(live, headers, query="?topics=x") == 401
    async with httpx.AsyncClient(base_url=live) as client:
        answer = await client.get("/v1/ws", headers=ada.headers)
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


async def test_a_key_follows_what_it_may_read(
    live: str, api: httpx.AsyncClient, ada: Newcomer
) -> None:
    async def made(*permissions: str) -> dict[str, Any]:
        body = {"name": "Reader", "permissions": list(permissions)}
        answer = await ada.call("POST", "/v1/api-keys", body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    reads, writes = await made("journal:read"), await made("journal:write")
    answer = await refused(live, {"x-api-key": writes["key"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert await upgrade_refused(live, {"x-api-key": writes["key"]}) == 403
    key = {"x-api-key": reads["key"]}
    answer = await refused(live, key, "?topics=journal,accounts")
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    async with streaming(live, key, last=0) as stream, talking(live, key, "?after=0") as socket:
        await write(ada, 1)
        event = await stream.event()
        assert event is not None
        assert event["event"] == "journal.EntryWritten"
        assert (await socket.receive_json(timeout=10))["type"] == "EntryWritten"
        path = f"/v1/api-keys/{reads['id']}"
        assert (await ada.call("DELETE", path, if_match="*")).status_code == 204
        await stream.until_end(within=3)
        assert await closing(socket) == 4401


async def test_a_login_that_ends_ends_its_streams(live: str, ada: Newcomer) -> None:
    async with streaming(live, ada.headers) as stream, talking(live, ada.headers) as socket:
        assert (await ada.call("POST", "/v1/auth/logout")).status_code == 204
        await stream.until_end(within=3)
        assert await closing(socket) == 4401
    assert (await refused(live, ada.headers)).status_code == 401


async def test_nobody_may_have_too_many(live: str, ada: Newcomer) -> None:
    async with (
        streaming(live, ada.headers),
        streaming(live, ada.headers),
        talking(live, ada.headers),
    ):
        async with streaming(live, ada.headers):
            answer = await refused(live, ada.headers)
            assert (answer.status_code, answer.json()["code"]) == (429, "TOO_MANY_STREAMS")
            assert int(answer.headers["retry-after"]) > 0

        async def is_free() -> bool:
            try:
                async with streaming(live, ada.headers):
                    return True
            except AssertionError:
                return False

        await eventually_async(is_free, within=3)


async def test_a_socket_tells_and_answers(live: str, ada: Newcomer) -> None:
    async with talking(live, ada.headers) as socket:
        assert socket.protocol is None
        entry = await write(ada, 1)
        message = await socket.receive_json(timeout=10)
        assert message["type"] == "EntryWritten"
        assert message["topic"] == "journal.EntryWritten.v1"
        assert message["data"]["entry_id"] == entry["id"]
        assert message["timestamp"].endswith("Z")
        await socket.send_json({"type": "ping"})
        assert (await socket.receive_json(timeout=10))["type"] == "pong"
        await socket.send_str("nonsense")
        assert (await socket.receive_json(timeout=10))["type"] == "error"
    async with talking(live, ada.headers, f"?after={message['position']}&topics=journal") as socket:
        later = await write(ada, 2)
        assert (await socket.receive_json(timeout=10))["data"]["entry_id"] == later["id"]
        await socket.send_str("x" * 5000)
        assert await closing(socket) == 1009
    async with talking(live, ada.headers) as socket:
        await socket.send_bytes(b"{}")
        assert await closing(socket) == 1003


async def test_a_browser_names_its_token_as_a_subprotocol(live: str, ada: Newcomer) -> None:
    async with talking(live, {}, protocols=("bearer", ada.bearer)) as socket:
        assert socket.protocol == "bearer"
        await write(ada, 1)
        assert (await socket.receive_json(timeout=10))["type"] == "EntryWritten"
    assert await upgrade_refused(live, {}, protocols=("bearer", "nonsense")) == 401


async def test_pages_of_other_origins_are_kept_out(live: str, ada: Newcomer) -> None:
    for origin in (PAGE, live):
        async with talking(live, ada.headers | {"Origin": origin}):
            pass
    for origin in (FOREIGN, "null", live.replace("http://", "file://"), f"{live}0"):
        assert await upgrade_refused(live, ada.headers | {"Origin": origin}) == 403, origin
    assert await upgrade_refused(live, {"Origin": FOREIGN}) == 401


async def test_open_sockets_stand_in_redis(live: str, changed: Settings, ada: Newcomer) -> None:
    assert changed.redis_url is not None
    key = f"ws:user:{ada.id}"
    async with redis.Redis.from_url(changed.redis_url) as cache:

        async def count_is(number: int) -> bool:
            return int(await cache.scard(key)) == number

        async with talking(live, ada.headers), talking(live, ada.headers):
            await eventually_async(lambda: count_is(2))
            assert 0 < await cache.ttl(key) <= 180
        await eventually_async(lambda: count_is(0))


async def test_what_a_person_erases_ends_their_streams(
    live: str, api: httpx.AsyncClient, ada: Newcomer
) -> None:
    async with streaming(live, ada.headers) as stream, talking(live, ada.headers) as socket:
        assert (await ada.call("POST", "/v1/me/erasure")).status_code == 202
        await stream.until_end(within=3)
        assert await closing(socket) == 4401


async def test_a_server_that_stops_says_so(
    changed: Settings, api: httpx.AsyncClient, ada: Newcomer
) -> None:
    loop = asyncio.get_running_loop()
    operator = await logged_in(api, *OPERATOR)
    async with listening(changed) as url:
        stream = streaming(url, ada.headers)
        opened = await stream.__aenter__()
        console = streaming(url, operator.headers, path="/v1/ops/console/stream")
        looked_at = await console.__aenter__()
        told = await looked_at.event()
        assert told is not None
        assert told["event"] == "beat"
        socket = talking(url, ada.headers)
        talked = await socket.__aenter__()
        began = loop.time()
        closed = asyncio.create_task(closing(talked))
        ended = asyncio.gather(opened.until_end(), looked_at.until_end())
    assert loop.time() - began < 4
    await ended
    assert await closed == 1001
    await socket.__aexit__(None, None, None)
    await stream.__aexit__(None, None, None)
    await console.__aexit__(None, None, None)
