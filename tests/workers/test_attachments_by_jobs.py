"""What jobs do with attachments: thumbnails, the export, the erasure."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from PIL import Image

from bootstrap import wiring
from bootstrap.engine import DirectEngine
from bootstrap.settings import Settings
from bootstrap.wiring.erasure import erasing_of
from domain.journal.entry import stream_of
from projections.journal.entries import Entries
from tests.support.exporting import House, Somebody, read, running_house, somebody
from tests.support.pictures import FILES, picture
from tests.support.servers import Database
from tests.support.waiting import eventually_async
from workers.erasure import erase_person

pytestmark = pytest.mark.anyio

_days = iter(f"2026-03-{day:02}" for day in range(1, 29))


@pytest.fixture(scope="module")
async def house(settings: Settings, signing_key: bytes) -> AsyncIterator[House]:
    async with running_house(settings, signing_key) as running:
        stop = asyncio.Event()
        reacting = asyncio.create_task(wiring.reactor(running.settings, stop))
        try:
            yield running
        finally:
            stop.set()
            await reacting


async def entry_of(person: Somebody) -> str:
    body = {"date": next(_days), "title": "A day", "content": "With a picture."}
    return (await person.call("POST", "/v1/journal/entries", body)).headers["location"]


async def attached(
    person: Somebody, entry: str, content: bytes, content_type: str, filename: str = "a.bin"
) -> dict[str, Any]:
    body = {"filename": filename, "content_type": content_type, "size_bytes": len(content)}
    pending = (await person.call("POST", f"{entry}/attachments", body)).json()["data"]
    sent = await person.house.api.put(pending["upload"]["url"], content=content)
    assert sent.status_code == 204
    path = f"{entry}/attachments/{pending['id']}"
    done = await person.call("POST", f"{path}/complete", {})
    return {**done.json()["data"], "path": path}


async def pictured(person: Somebody, path: str) -> dict[str, Any]:
    """The attachment as soon as it has a thumbnail."""
    found: dict[str, Any] = {}

    async def there() -> bool:
        found.update(await person.get(path))
        return found["thumbnail_url"] is not None

    await eventually_async(there)
    return found


async def test_images_get_a_thumbnail_and_what_people_decided_before_it_holds(
    house: House,
) -> None:
    ada = await somebody(house)
    entry = await entry_of(ada)
    broken = picture("JPEG", (400, 400))[
        :-500
    ]  # its structure is sound as far as anybody has looked
    first = await attached(ada, entry, broken, "image/jpeg")
    document = await attached(ada, entry, FILES["application/pdf"], "application/pdf")
    image = await attached(ada, entry, picture("JPEG", (2000, 1000)), "image/jpeg")
    before = await ada.call("GET", entry, consistency_token=ada.token, prefer="wait=10")
    shown = await pictured(ada, image["path"])
    assert shown["version"] == 2
    small = await house.api.get(shown["thumbnail_url"])
    assert small.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(small.content)).size == (320, 160)
    for other in (first, document):
        assert (await ada.get(other["path"]))["thumbnail_url"] is None

    listed = await ada.get(entry)
    assert [each["thumbnail_url"] is None for each in listed["attachments"]] == [True, True, False]
    # Written, three files, one thumbnail; the client has seen all but the last.
    assert listed["version"] == 5
    seen = '"4"'
    assert listed["updated_at"] == before.json()["data"]["updated_at"]
    # It may revise the entry and remove the image.
    await ada.call("PATCH", entry, {"title": "New"}, if_match=seen)
    await ada.call("DELETE", image["path"], if_match='"1"')
    assert (await house.api.get(shown["thumbnail_url"])).status_code == 404
    stale = {**ada.headers, "if-match": seen}
    assert (await house.api.delete(entry, headers=stale)).status_code == 412


async def test_a_rebuilt_view_has_the_same_attachments(house: House) -> None:
    ada = await somebody(house)
    entry = await entry_of(ada)
    image = await attached(ada, entry, FILES["image/png"], "image/png")
    await pictured(ada, image["path"])
    events = await house.side.store.read(stream_of(UUID(entry.rpartition("/")[2])))
    view, row = Entries(), None
    for recorded in events:
        row = view.fold((recorded.event.entry_id,), row, recorded)  # type: ignore[attr-defined]
    with psycopg.connect(house.settings.owner_dsn or "") as connection:
        stored = connection.execute(
            "SELECT document FROM journal_entries WHERE entry_id = %s",
            (entry.rpartition("/")[2],),
        ).fetchone()
    assert row is not None
    assert stored == (row.document.decode(),)
    assert "http" not in row.document.decode()  # links are made for whoever reads


async def test_files_are_in_the_export_and_gone_after_an_erasure(
    house: House, database: Database
) -> None:
    ada, eve = await somebody(house, "Ada"), await somebody(house, "Evelyn")
    theirs = await attached(eve, await entry_of(eve), FILES["image/gif"], "image/gif")
    kept, deleted = await entry_of(ada), await entry_of(ada)
    image = await attached(ada, kept, FILES["image/png"], "image/png", "naïve: a?b.png")
    await attached(ada, kept, FILES["application/pdf"], "application/pdf", "...")
    gone = await attached(ada, deleted, FILES["image/webp"], "image/webp")
    await ada.call("DELETE", deleted, if_match='"2"')
    body = {"filename": "x", "content_type": "image/png", "size_bytes": 3}
    pending = (await ada.call("POST", f"{kept}/attachments", body)).json()["data"]
    await house.api.put(pending["upload"]["url"], content=b"abc")

    bundle = await ada.exported()
    files = {path: bundle.read(path) for path in bundle.namelist() if "/attachments/" in path}
    assert sorted(files.values()) == sorted(
        FILES[kind] for kind in ("image/png", "application/pdf", "image/webp")
    )
    entries = read(bundle, "journal/entries.json")
    listed = [each for one in entries for each in one["entry"]["attachments"]]
    assert {each["download_url"] for each in listed} == set(files)
    assert {each["id"] for each in listed} >= {image["id"], gone["id"]}
    assert "naïve: a?b.png" in {each["filename"] for each in listed}

    folder = house.settings.home / "objects"
    assert list(folder.glob(f"*/{ada.id}/*"))
    accepted = await ada.call("POST", "/v1/me/erasure")
    operation_id = UUID(accepted.json()["data"]["id"])
    engine = DirectEngine(database.write_dsn, house.side.keys)
    await erase_person(operation_id, erasing_of(house.settings, house.side, engine))
    answer = await house.api.get(f"/v1/operations/{operation_id}", headers=ada.headers)
    erased = answer.json()["data"]["result"]["erased"]
    assert erased["objects"] >= 4
    assert erased["journal_uploads"] == 1
    assert list(folder.glob(f"*/{ada.id}*")) == []
    assert (await house.api.get(image["download_url"])).status_code == 404
    assert (await house.api.put(pending["upload"]["url"], content=b"abc")).status_code == 404
    assert (await house.api.get(theirs["download_url"])).content == FILES["image/gif"]
