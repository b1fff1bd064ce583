"""Attachments with a bucket behind them: clients send to S3 and fetch from it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import boto3
import httpx
import msgspec
import pytest
from moto.server import ThreadedMotoServer

from bootstrap.settings import Settings
from bootstrap.wiring.write_side import WriteSide
from tests.support.apps import served
from tests.support.newcomers import Newcomer, newcomer
from tests.support.pictures import FILES, HTML

pytestmark = pytest.mark.anyio

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "secret"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = boto3.resource("s3", "us-east-1", endpoint_url=f"http://{host}:{port}", **KEYS)
    try:
        yield s3.create_bucket(Bucket="diary")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def on_s3(settings: Settings, signing_key: bytes, bucket: Any) -> Settings:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    return msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=1_000_000,
        s3_bucket=bucket.name,
        s3_endpoint_url=bucket.meta.client.meta.endpoint_url,
        s3_access_key_id=KEYS["aws_access_key_id"],
        s3_secret_access_key=KEYS["aws_secret_access_key"],
    )


@pytest.fixture(scope="module")
async def ada(on_s3: Settings) -> AsyncIterator[Newcomer]:
    async with served(on_s3) as api:
        yield await newcomer(api)


async def announced(person: Newcomer, entry: str, content: bytes) -> dict[str, Any]:
    body = {"filename": "dusk.png", "content_type": "image/png", "size_bytes": len(content)}
    answer = await person.call("POST", f"{entry}/attachments", body)
    assert answer.status_code == 201, answer.text
    pending: dict[str, Any] = answer.json()["data"]
    return pending


async def sent(pending: dict[str, Any], content: bytes) -> int:
    upload = pending["upload"]
    async with httpx.AsyncClient() as client:
        answer = await client.put(upload["url"], headers=upload["headers"], content=content)
    return answer.status_code


async def test_a_file_goes_to_the_bucket_and_comes_from_it(
    ada: Newcomer, on_s3: Settings, bucket: Any
) -> None:
    body = {"date": "2026-01-01", "title": "t", "content": "c"}
    entry = (await ada.call("POST", "/v1/journal/entries", body)).headers["location"]
    content = FILES["image/png"]
    pending = await announced(ada, entry, content)
    path = f"{entry}/attachments/{pending['id']}"
    early = await ada.call("POST", f"{path}/complete", {})
    assert (early.status_code, early.json()["code"]) == (409, "NOT_UPLOADED")
    assert await sent(pending, content) == 200
    done = await ada.call("POST", f"{path}/complete", {})
    assert done.status_code == 200, done.text
    listed = (await ada.get(entry)).json()["data"]["attachments"][0]
    for data in (done.json()["data"], listed, (await ada.get(path)).json()["data"]):
        url = httpx.URL(data["download_url"])
        assert f"http://{url.netloc.decode()}" == on_s3.s3_endpoint_url
        async with httpx.AsyncClient() as client:
            got = await client.get(url)
            bare = await client.get(url.copy_with(query=None))
        assert got.content == content
        assert got.headers["content-disposition"].startswith('attachment; filename="dusk.png"')
        assert bare.content != content  # nothing is public
    # Whoever still has the upload's link can send what they like: it is not what was kept.
    assert await sent(pending, bytes(len(content))) == 200
    async with httpx.AsyncClient() as client:
        assert (await client.get(listed["download_url"])).content == content
    assert not (on_s3.home / "objects").exists()

    page = HTML.ljust(100)
    wrong = await announced(ada, entry, page)
    assert await sent(wrong, page) == 200
    refused = await ada.call("POST", f"{entry}/attachments/{wrong['id']}/complete", {})
    assert (refused.status_code, refused.json()["code"]) == (422, "CONTENT_TYPE_MISMATCH")
    keys = [each.key for each in bucket.objects.all()]
    assert not [key for key in keys if wrong["id"] in key]

    assert (await ada.call("DELETE", path, if_match='"1"')).status_code == 204
    assert (await ada.get(path)).status_code == 404
    side = WriteSide(on_s3)
    async with side.opened():
        assert await side.files.objects.erase(msgspec.convert(ada.id, type=Any)) == 2
    assert list(bucket.objects.all()) == []
