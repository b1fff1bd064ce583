"""What is asked of a store of objects: in a folder and on S3 alike."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from moto.server import ThreadedMotoServer
from uuid_utils.compat import uuid7

from adapters.objects.bucket import Bucket
from adapters.objects.folder import FolderObjects
from adapters.objects.s3 import S3Addresses, S3Objects
from adapters.objects.sealed import PIECE
from commands.journal_attachments import ObjectGone, Objects, ObjectsUnavailable
from domain.journal.attachment import NewAttachment, Upload

pytestmark = pytest.mark.anyio

KEYS: dict[UUID, AESGCM | None] = {}


async def cipher(user_id: UUID) -> AESGCM | None:
    return KEYS.setdefault(user_id, AESGCM(AESGCM.generate_key(256)))


@pytest.fixture(scope="module")
def s3() -> Iterator[Bucket]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    try:
        yield Bucket(
            name="files",
            endpoint_url=f"http://127.0.0.1:{port}",
            access_key_id="test",
            secret_access_key="secret",
        )
    finally:
        server.stop()


@pytest.fixture(scope="module", params=["folder", "s3"])
async def objects(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Objects]:
    if request.param == "folder":
        yield FolderObjects(tmp_path_factory.mktemp("objects"), cipher)
        return
    store = S3Objects(request.getfixturevalue("s3"))
    async with store.opened():
        with contextlib.suppress(ObjectsUnavailable):
            await store._call("create_bucket")
        versions = {"Status": "Enabled"}
        await store._call("put_bucket_versioning", VersioningConfiguration=versions)
        yield store


def new_upload(user_id: UUID | None = None, size: int = 10) -> Upload:
    return Upload(
        user_id=user_id or uuid7(),
        entry_id=uuid7(),
        attachment_id=uuid7(),
        declared=NewAttachment(filename="x.png", content_type="image/png", size_bytes=size),
    )


async def pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def whole(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


def content_of(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1000])
async def test_an_upload_is_kept_and_read_back(objects: Objects, size: int) -> None:
    upload, content = new_upload(), content_of(size)
    name = upload.named(uuid7())
    assert await objects.keep(upload, name) is False
    assert await objects.size(name) is None
    await objects.receive(upload, pieces(content))
    assert await objects.keep(upload, name) is True
    assert await objects.size(name) == size
    assert await whole(objects.read(name)) == content
    for first in {0, 1, size // 2, size - 1, PIECE - 1, PIECE} & set(range(size)):
        for count in (1, 10, PIECE, size):
            got = await whole(objects.read(name, first, count))
            assert got == content[first : first + count], (first, count)
    assert await whole(objects.read(name, 0, 0)) == b""


async def test_what_is_kept_stays_as_it_is_whatever_is_uploaded(objects: Objects) -> None:
    upload = new_upload()
    first, second = upload.named(uuid7()), upload.named(uuid7())
    await objects.receive(upload, pieces(b"first"))
    assert await objects.keep(upload, first)
    await objects.receive(upload, pieces(b"second, and longer"))
    assert await objects.keep(upload, second)
    assert await whole(objects.read(first)) == b"first"
    assert await whole(objects.read(second)) == b"second, and longer"
    await objects.drop(upload)
    await objects.drop(upload)
    assert await objects.keep(upload, upload.named(uuid7())) is False
    assert await whole(objects.read(first)) == b"first"


async def test_an_upload_that_breaks_off_leaves_the_earlier_one(objects: Objects) -> None:
    upload = new_upload()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * PIECE
        raise EOFError

    with pytest.raises(EOFError):
        await objects.receive(upload, broken())
    assert not await objects.keep(upload, upload.named(uuid7()))
    await objects.receive(upload, pieces(b"whole"))
    with pytest.raises(EOFError):
        await objects.receive(upload, broken())
    name = upload.named(uuid7())
    assert await objects.keep(upload, name)
    assert await whole(objects.read(name)) == b"whole"


async def test_what_was_deleted_is_gone(objects: Objects) -> None:
    names = [new_upload().named(uuid7()) for _ in range(3)]
    for name in names[:2]:
        await objects.put(name, b"picture")
    await objects.delete(*names)
    for name in names:
        assert await objects.size(name) is None
        with pytest.raises(ObjectGone):
            await whole(objects.read(name))


async def test_everything_of_a_person_goes_and_nothing_else(objects: Objects) -> None:
    ada, eve = uuid7(), uuid7()
    hers = [new_upload(ada).named(uuid7()) for _ in range(3)]
    other = new_upload(eve).named(uuid7())
    for name in (*hers, other):
        await objects.put(name, b"content")
    under_way = new_upload(ada)
    await objects.receive(under_way, pieces(b"coming"))
    assert await objects.erase(ada) == 4
    assert await objects.erase(ada) == 0
    assert not await objects.keep(under_way, under_way.named(uuid7()))
    assert [await objects.size(name) for name in hers] == [None] * 3
    assert await whole(objects.read(other)) == b"content"


async def test_all_that_is_kept_is_listed_and_uploads_are_not(objects: Objects) -> None:
    began = datetime.now(UTC) - timedelta(seconds=2)
    upload = new_upload()
    await objects.receive(upload, pieces(b"coming"))
    name = upload.named(uuid7())
    await objects.put(name, b"kept")
    found = {stored.name: stored.since async for stored in objects.all()}
    assert began <= found[name] <= datetime.now(UTC) + timedelta(seconds=1)
    assert [each for each in found if each.attachment_id == upload.attachment_id] == [name]


async def test_old_uploads_are_swept(objects: Objects) -> None:
    upload = new_upload()
    await objects.receive(upload, pieces(b"coming"))
    assert await objects.drop_uploads(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await objects.drop_uploads(datetime.now(UTC) + timedelta(hours=1)) >= 1
    assert not await objects.keep(upload, upload.named(uuid7()))


async def test_a_file_is_sealed_for_its_person_and_cannot_be_cut_or_exchanged(
    tmp_path: Path,
) -> None:
    store = FolderObjects(tmp_path, cipher)
    upload, content = new_upload(), content_of(3 * PIECE)
    name, other = upload.named(uuid7()), new_upload(upload.user_id).named(uuid7())
    await store.receive(upload, pieces(content))
    await store.keep(upload, name)
    path = store._file(name)
    sealed = path.read_bytes()
    assert content[:64] not in sealed

    async def broken(changed: bytes, read: Callable[[], Awaitable[bytes]]) -> None:
        path.write_bytes(changed)
        with pytest.raises(Exception, match="cannot be opened"):
            await read()

    step = len(sealed) // 3
    swapped = sealed[step : 2 * step] + sealed[:step] + sealed[2 * step :]
    for changed in (sealed[:-1], sealed[:step], sealed[: 2 * step], swapped):
        await broken(changed, lambda: whole(store.read(name)))
    path.write_bytes(sealed)
    store._file(other).write_bytes(sealed)
    with pytest.raises(Exception, match="cannot be opened"):
        await whole(store.read(other))

    KEYS[upload.user_id] = None  # destroyed
    for failing in (whole(store.read(name)), store.put(name, b"x")):
        with pytest.raises(ObjectGone):
            await failing


async def test_an_upload_holds_little_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    store, upload = FolderObjects(tmp_path, cipher), new_upload()
    piece = b"x" * 65_536

    async def many() -> AsyncIterator[bytes]:
        for _ in range(320):  # 20 MiB
            yield piece

    await store.receive(new_upload(), pieces(b"warm"))
    tracemalloc.start()
    try:
        await store.receive(upload, many())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


async def test_s3_signs_links_that_need_no_key(s3: Bucket) -> None:
    store, links = S3Objects(s3), S3Addresses(s3)
    soon = datetime.now(UTC) + timedelta(minutes=15)
    content = b"\x89PNG what"
    upload = new_upload(size=len(content))
    async with store.opened(), httpx.AsyncClient() as client:
        with contextlib.suppress(ObjectsUnavailable):
            await store._call("create_bucket")
        link = links.upload("http://here", upload, soon)
        assert link.url.startswith(f"{s3.endpoint_url}/files/uploads/{upload.user_id}/")
        # What a real S3 refuses by the signature: another type, another length, no encryption.
        signed = httpx.URL(link.url).params["X-Amz-SignedHeaders"].split(";")
        assert {"content-type", "content-length", "x-amz-server-side-encryption"} <= set(signed)
        sent = await client.request(link.method, link.url, headers=link.headers, content=content)
        assert sent.status_code == 200, sent.text
        name = upload.named(uuid7())
        assert await store.keep(upload, name)
        head = await store._call("head_object", Key=f"files/{name.key}")
        assert head["ServerSideEncryption"] == "AES256"
        url = links.download("http://here", name, "ein Bild.png", "image/png", soon)
        got = await client.get(url)
        assert got.content == content
        assert got.headers["content-type"] == "image/png"
        assert got.headers["content-disposition"].startswith("attachment; filename=")


async def test_s3_that_does_not_answer_is_told_from_what_is_gone() -> None:
    away = Bucket(
        name="x", endpoint_url="http://127.0.0.1:9", access_key_id="a", secret_access_key="b"
    )
    store = S3Objects(away)
    async with store.opened():
        with pytest.raises(ObjectsUnavailable):
            await store.size(new_upload().named(uuid7()))
