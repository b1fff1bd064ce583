"""An export whose worker dies, stands still, is stopped or called off: one file, or none."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from uuid_utils.compat import uuid7

from bootstrap.settings import Settings
from domain.export import EXPORT, Overtaken
from tests.support.exporting import (
    House,
    lived,
    running_house,
    somebody,
)
from tests.support.servers import Database
from workers import operations as leases
from workers.exports import work
from workers.exports.work import export_person

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def house(settings: Settings, signing_key: bytes) -> AsyncIterator[House]:
    async with running_house(settings, signing_key) as running:
        yield running


class Killed(BaseException):
    """As if the process had died here."""


class Dying:
    """Files whose writer dies after so many pieces, or when the file is whole."""

    def __init__(self, there: Any, pieces: int, *, after: bool = False) -> None:
        self._there = there
        self._left = pieces
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._there, name)

    async def add(self, *args: Any) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        await self._there.add(*args)

    async def complete(self, *args: Any) -> None:
        if not self._after:
            raise Killed
        await self._there.complete(*args)
        raise Killed


async def test_a_killed_worker_leaves_one_file(
    house: House, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "LEASE", 0.05)
    monkeypatch.setattr(leases, "LEASE", 0.05)
    monkeypatch.setattr("workers.exports.bundle.PIECE", 8_192)
    person = await lived(house, "Kit")
    operation_id = await person.ask()
    for dying in (
        Dying(house.files, 0),
        Dying(house.files, 3),
        Dying(house.files, 10_000),
        Dying(house.files, 10_000, after=True),
    ):
        with pytest.raises(Killed):
            await export_person(
                operation_id, msgspec.structs.replace(house.exporting, exports=dying)
            )
        while (operation_id, EXPORT) not in await house.side.operations.stranded(1000):
            pass
    finished = await house.files.ready(operation_id)
    assert finished is not None
    await export_person(operation_id, house.exporting)
    operation = await person.operation(operation_id)
    assert operation["state"] == "succeeded", operation
    answer = await house.api.get(operation["result"]["download_url"])
    assert hashlib.sha256(answer.content).hexdigest() == operation["result"]["sha256"]
    assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute("SET row_security = off")
        runs = connection.execute(
            "SELECT DISTINCT run FROM export_pieces WHERE export_id = %s", (operation_id,)
        ).fetchall()
    assert runs == [(finished.run,)]


async def test_an_overtaken_attempt_can_do_nothing_more(house: House) -> None:
    export_id, user_id, first, second = uuid7(), uuid7(), uuid7(), uuid7()
    result = work.ExportResult(
        expires_at=datetime.datetime.now(datetime.UTC),
        size_bytes=3,
        sha256="",
        files=1,
        counts={},
    )
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    store = house.files
    await store.begin(export_id, user_id, first)
    await store.add(export_id, user_id, first, 0, b"old")
    await store.begin(export_id, user_id, second)
    with pytest.raises(Overtaken):
        await store.add(export_id, user_id, first, 1, b"old")
    with pytest.raises(Overtaken):
        await store.complete(export_id, first, result, soon)
    await store.add(export_id, user_id, second, 0, b"new")
    await store.complete(export_id, second, result, soon)
    await store.begin(export_id, user_id, first)  # too late: it is whole
    with pytest.raises(Overtaken):
        await store.add(export_id, user_id, first, 0, b"old")
    file = await store.ready(export_id)
    assert file is not None
    assert [piece async for piece in store.pieces(file)] == [b"new"]
    assert await store.erase(user_id) == 1
    with pytest.raises(Overtaken):
        await store.add(export_id, user_id, second, 1, b"after all")


async def test_a_cancelled_export_leaves_no_file(house: House) -> None:
    person = await lived(house, "Cato")
    operation_id = await person.ask()
    begun = asyncio.Event()

    class Cancelling:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.files, name)

        async def begin(self, *args: Any) -> None:
            await house.files.begin(*args)
            await person.call("DELETE", f"/v1/operations/{operation_id}")
            begun.set()

    cancelling: Any = Cancelling()
    replaced = msgspec.structs.replace(house.exporting, exports=cancelling)
    await export_person(operation_id, replaced)
    assert begun.is_set()
    operation = await person.operation(operation_id)
    assert (operation["state"], operation["result"]) == ("cancelled", None)
    assert await house.files.erase(UUID(person.id)) == 0


async def test_a_worker_that_shuts_down_gives_its_operation_back(house: House) -> None:
    person = await somebody(house)
    operation_id = await person.ask()
    begun = asyncio.Event()

    class Hanging:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.files, name)

        async def begin(self, *args: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

    hanging: Any = Hanging()
    replaced = msgspec.structs.replace(house.exporting, exports=hanging)
    task = asyncio.create_task(export_person(operation_id, replaced))
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await export_person(operation_id, house.exporting)
    assert (await person.operation(operation_id))["state"] == "succeeded"


async def test_an_export_waits_for_the_read_models(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await somebody(house)
    operation_id = await person.ask()

    class Behind:
        def position(self, *projections: str) -> int:
            return 0

        async def passed(self, position: int, *projections: str, within: float) -> str:
            return projections[0]

    behind: Any = Behind()
    replaced = msgspec.structs.replace(house.exporting, freshness=behind)
    monkeypatch.setattr(work, "PAUSE", 0.0)
    for _ in range(leases.MAX_ATTEMPTS + 2):  # however often: it has not failed
        await export_person(operation_id, replaced)
    operation = await person.operation(operation_id)
    assert operation["state"] == "running"
    assert "read models" in operation["detail"]
    await export_person(operation_id, house.exporting)
    assert (await person.operation(operation_id))["state"] == "succeeded"


async def test_nobody_there_is_a_failure_that_says_so(house: House) -> None:
    from domain.operation import NewOperation

    nobody, operation_id = uuid7(), uuid7()
    new = NewOperation(
        id=operation_id,
        kind=EXPORT,
        user_id=nobody,
        tenant_id=nobody,
        correlation_id="req_test",
        created_at=datetime.datetime.now(datetime.UTC),
    )
    await house.side.operations.accept(new)
    await export_person(operation_id, house.exporting)
    operation = await house.side.operations.get(operation_id, nobody)
    assert operation is not None
    assert operation.state == "failed"
    assert operation.error is not None
    assert operation.error.code == "NOT_FOUND"
    assert await house.files.erase(nobody) == 0
