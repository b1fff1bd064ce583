"""The file of an export: who is given its link, what the link opens, and when it is gone."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from adapters.http import responses
from adapters.http.links import Links
from bootstrap.settings import Settings
from domain.export import Overtaken
from tests.support.exporting import (
    House,
    Somebody,
    running_house,
    somebody,
)
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers.exports.work import export_person
from write_api.exports import AT_MOST

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def house(settings: Settings, signing_key: bytes) -> AsyncIterator[House]:
    async with running_house(settings, signing_key) as running:
        yield running


async def test_only_oneself(house: House) -> None:
    person, other = await somebody(house), await somebody(house)
    operation_id = await person.ask()
    for method in ("GET", "DELETE"):
        answer = await house.api.request(
            method, f"/v1/operations/{operation_id}", headers=other.headers
        )
        assert answer.status_code == 404
    assert (await house.api.post("/v1/me/export")).status_code == 401


async def test_one_export_for_each_idempotency_key(house: House) -> None:
    person = await somebody(house)
    answers = await asyncio.gather(
        *(person.call("POST", "/v1/me/export", idempotency_key="one") for _ in range(8))
    )
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 7
    assert await person.ask() != UUID(answers[0].json()["data"]["id"])


async def test_there_are_so_many_exports_in_a_day(house: House) -> None:
    person = await somebody(house)
    first = await person.call("POST", "/v1/me/export", idempotency_key="first")
    for _ in range(AT_MOST - 1):
        await person.ask()
    refused = await house.api.post("/v1/me/export", headers=person.headers)
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_400
    again = await person.call("POST", "/v1/me/export", idempotency_key="first")
    assert again.content == first.content
    assert await (await somebody(house)).ask()


class Download(msgspec.Struct):
    person: Somebody
    id: UUID
    url: str


@pytest.fixture
async def download(house: House) -> Download:
    person = await somebody(house)
    operation_id = await person.ask()
    await export_person(operation_id, house.exporting)
    result = (await person.operation(operation_id))["result"]
    return Download(person, operation_id, result["download_url"])


async def test_the_answer_is_a_file_that_nobody_keeps(house: House, download: Download) -> None:
    assert download.url.startswith(f"/v1/exports/{download.id}?")
    for method in ("GET", "HEAD"):
        answer = await house.api.request(method, download.url)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/zip"
        assert re.fullmatch(
            r'attachment; filename="mindstream-export-\d{4}-\d\d-\d\d\.zip"',
            answer.headers["content-disposition"],
        )
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        length = int(answer.headers["content-length"])
        assert length > 1_000
        assert len(answer.content) == (length if method == "GET" else 0)
    # The link is the same however often it is asked for, and needs no login but takes one.
    again = (await download.person.operation(download.id))["result"]["download_url"]
    assert again == download.url
    other = await house.api.get(download.url, headers={"authorization": "Bearer nonsense"})
    assert other.status_code == 200


async def test_a_file_that_ends_early_is_not_taken_for_whole() -> None:
    """As when it is erased while somebody reads it."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half of "

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    answer = responses.Download(16, pieces(), "application/zip", "a.zip")
    with pytest.raises(ConnectionAbortedError):
        await answer({}, None, send)
    assert [message.get("more_body") for message in sent] == [None, True]


async def test_a_changed_link_is_refused(house: House, download: Download) -> None:
    path, _, query = download.url.partition("?")
    expires, signature = (part.partition("=")[2] for part in query.split("&"))
    other = "B" if signature[0] == "A" else "A"
    another = await somebody(house)
    theirs = await another.ask()
    await export_person(theirs, house.exporting)
    for changed in (
        path,
        f"{path}?expires={expires}",
        f"{path}?signature={signature}",
        f"{path}?expires={int(expires) + 1}&signature={signature}",
        f"{path}?expires=0{expires}&signature={signature}",
        f"{path}?expires=&signature={signature}",
        f"{path}?expires={expires}&signature={other}{signature[1:]}",
        f"{path}?expires={expires}&signature={signature[:-1]}",
        f"{path}?expires={expires}&signature=",
        f"{path}?expires={expires}&signature=%ff%00",
        f"{path}?expires={expires}&signature=\N{GRINNING FACE}",
        f"{path}?signature={signature}&expires={expires}",
        f"{download.url}&signature={signature}",
        f"{download.url}&more=1",
        f"/v1/exports/{theirs}?{query}",
        f"/v1/exports/{uuid7()}?{query}",
        f"/v1/exports/nonsense?{query}",
    ):
        answer = await house.api.get(changed)
        assert (answer.status_code, answer.json().get("code")) == (403, "LINK_REFUSED"), changed
        assert signature not in answer.text
    assert (await house.api.get(download.url)).status_code == 200


async def test_an_expired_link_is_refused_and_its_file_swept(
    house: House, download: Download, database: Database
) -> None:
    result = (await download.person.operation(download.id))["result"]
    expires_at = datetime.datetime.fromisoformat(result["expires_at"])
    left = expires_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23, minutes=50) < left <= datetime.timedelta(hours=24)

    await house.files.sweep()
    assert (await house.api.get(download.url)).status_code == 200
    signing = Links(house.side.sealer.secret("links"))
    path = download.url.partition("?")[0]
    assert signing.sign(path, expires_at) == download.url
    now = datetime.datetime.now(datetime.UTC)
    for seconds, status in ((60, 200), (-1, 403)):
        link = signing.sign(path, now + datetime.timedelta(seconds=seconds))
        assert (await house.api.get(link)).status_code == status, seconds

    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("SET row_security = off")
        connection.execute(
            "UPDATE exports SET expires_at = now() - interval '1 second' WHERE export_id = %s",
            (download.id,),
        )
        assert (await house.api.get(download.url)).status_code == 404
        assert await house.files.sweep() >= 1
        [left_over] = connection.execute(
            "SELECT count(*) FROM export_pieces WHERE export_id = %s", (download.id,)
        ).fetchall()
        assert left_over == (0,)


async def test_files_are_purged_by_person(house: House, download: Download) -> None:
    other = await somebody(house)
    theirs = await other.ask()
    await export_person(theirs, house.exporting)
    assert await house.files.erase(UUID(download.person.id)) == 1
    assert await house.files.erase(UUID(download.person.id)) == 0
    assert (await house.api.get(download.url)).status_code == 404
    kept = (await other.operation(theirs))["result"]["download_url"]
    assert (await house.api.get(kept)).status_code == 200


async def test_pieces_lie_sealed(house: House, database: Database) -> None:
    person = await somebody(house)
    operation_id = await person.ask()
    await export_person(operation_id, house.exporting)
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute("SET row_security = off")
        pieces = connection.execute(
            "SELECT data FROM export_pieces WHERE export_id = %s", (operation_id,)
        ).fetchall()
    assert pieces
    assert not any(b"PK\x03\x04" in data or b"manifest" in data for (data,) in pieces)


async def test_without_its_persons_key_a_file_cannot_be_had(
    house: House, download: Download, database: Database
) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("SET row_security = off")
        connection.execute(
            "UPDATE subject_keys SET wrapped = NULL, master_generation = NULL, erased_at = now()"
            " WHERE subject_id = %s",
            (download.person.id,),
        )

    async def is_gone() -> bool:  # each process heeds erasures within seconds
        return (await house.api.get(download.url)).status_code == 404

    await eventually_async(is_gone)
    house.side.keys.forget([UUID(download.person.id)])
    user_id, export_id, run = UUID(download.person.id), uuid7(), uuid7()
    await house.files.begin(export_id, user_id, run)
    with pytest.raises(Overtaken):
        await house.files.add(export_id, user_id, run, 0, b"too late")
    assert await house.files.erase(user_id) == 2


async def test_a_reader_sees_no_export_but_the_one_that_it_names(
    house: House, download: Download, database: Database
) -> None:
    with psycopg.connect(database.read_dsn, autocommit=True) as connection:
        for table in ("exports", "export_pieces"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
