"""The restore drill: `docs/how-to/back-up-and-restore.md`, followed word by word.

A running system is backed up by the commands of the page, restored onto another server from another
home, and compared: every event, every read model, a login, a page and a file.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from bootstrap.embedded import free_port
from tests.e2e.conftest import WITHOUT_LIMITS
from tests.support.followed import commands, follow
from tests.support.people import People, Person, people_at, token_of
from tests.support.pictures import FILES
from tests.support.servers import Servers
from tests.support.upped import Up, prepared

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]
PAGE = "back-up-and-restore.md"


@pytest.fixture(scope="module")
def diarist(people: People) -> Person:
    """Somebody with entries and a file."""
    person = people.new()
    for day in range(1, 6):
        written = person.write(f"2026-03-0{day}", content=f"Words of day {day}.", mood="happy")
    content = FILES["image/png"]
    entry = written.headers["Location"]
    file = {"filename": "river.png", "content_type": "image/png", "size_bytes": len(content)}
    announced = person.post(f"{entry}/attachments", file).json()["data"]
    upload = announced["upload"]
    sent = people.anonymous.put(upload["url"], content=content, headers=upload["headers"])
    assert sent.status_code < 300, sent.text
    completed = person.post(f"{entry}/attachments/{announced['id']}/complete", {})
    assert completed.status_code == 200, completed.text
    person.get("/v1/journal/entries", headers=token_of(completed)).raise_for_status()
    return person


@pytest.fixture(scope="module")
def backup(up: Up, diarist: Person, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's backup was made on two nights, while the system ran."""
    folder = tmp_path_factory.mktemp("drill")
    nightly, once = commands(PAGE, "Back up")
    # As who has started it in this folder, and has set nothing.
    (folder / ".mindstream").symlink_to(up.home)
    unset = {name: text for name, text in up.env.items() if name != "MINDSTREAM_HOME"}
    follow(nightly + once, unset, folder)
    assert (data_of(folder) / "objects.tar").exists()
    follow(nightly, up.env, folder)
    return folder


def data_of(backup: Path) -> Path:
    """The folder of the newest day."""
    return max((backup / "backup" / "data").iterdir())


@pytest.fixture
def elsewhere(servers: Servers, redis_url: str, backup: Path) -> Iterator[Up]:
    """Another home, whose settings name another server with an empty database; nothing runs."""
    name = servers.empty_database()
    with prepared(
        **WITHOUT_LIMITS,
        DATABASE=name,
        MINDSTREAM_OWNER_DSN=servers.postgres.dsn(database=name),
        MINDSTREAM_WRITE_DSN=servers.postgres.dsn("mindstream_write", name),
        MINDSTREAM_READ_DSN=servers.postgres.dsn("mindstream_read", name),
        MINDSTREAM_REDIS_URL=redis_url,
    ) as other:
        yield other
        if (other.home / "run" / "up.lock").exists():
            pid = (other.home / "run" / "up.lock").read_text()
            subprocess.run(["kill", "-INT", pid], check=False)
    servers.drop_database(name)


def events_in(archive: Path) -> list[bytes]:
    """The lines of an archive, without the last one, which is about all of them."""
    raw = archive.read_bytes()
    if archive.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw)).read()
    return raw.splitlines()[:-1]


def exported(other: Up, folder: Path) -> list[bytes]:
    path = folder / "again.jsonl"
    done = other.cli("events", "export", str(path), "--yes")
    assert done.returncode == 0, done.stderr
    return events_in(path)


def shown(person: Person) -> list[dict[str, object]]:
    """What somebody sees of their diary, but for the addresses of files."""
    entries = person.whole_list()
    for entry in entries:
        for file in entry["attachments"]:
            file.pop("download_url"), file.pop("thumbnail_url")
    return entries


def test_a_backup_holds_each_thing_in_one_place(up: Up, backup: Path, diarist: Person) -> None:
    old = backup / "backup" / "data" / "2000-01-01"
    old.mkdir(mode=0o700)
    for name in ("events.jsonl.zst", "mindstream.dump", "objects.tar"):
        shutil.copy2(data_of(backup) / name, old)
        os.utime(old / name, (0, 0))
    for block in commands(PAGE, "Look whether it can be read"):
        follow(block, up.env, backup)
    assert [path.name for path in old.iterdir()] == ["events.jsonl.zst"], "the rest had its time"
    assert len(list(data_of(backup).iterdir())) == 3
    data = b"".join(path.read_bytes() for path in data_of(backup).iterdir())
    master = (up.home / "master.key").read_bytes().strip()
    assert master not in data
    archive = b"\n".join(events_in(data_of(backup) / "events.jsonl.zst"))
    assert b"Words of day" not in archive
    keys = follow(
        "mindstream pg pg_restore --data-only --table=subject_keys --file=- "
        f"{data_of(backup) / 'mindstream.dump'}",
        up.env,
        backup,
    )
    assert diarist.id not in keys, "the data keys are in a file of their own"
    for path in (backup / "backup").rglob("*"):
        assert not path.stat().st_mode & 0o077, path


def test_a_dump_comes_back_as_an_equal_system(
    up: Up, elsewhere: Up, backup: Path, diarist: Person
) -> None:
    before = shown(diarist)
    archived = events_in(data_of(backup) / "events.jsonl.zst")

    restoring, starting = commands(PAGE, "Restore from the dump")
    follow(restoring, elsewhere.env, backup)
    assert exported(elsewhere, backup)[: len(archived)] == archived
    # The page has `verify` compare every read model with its events, and end at a difference.
    said = follow(starting, elsewhere.env, backup)

    assert "journal.entries" in said
    with people_at(elsewhere.gateway) as there:
        back = there.log_in(diarist.email)
        assert back.id == diarist.id
        assert shown(back) == before
        file = back.whole_list()[0]["attachments"][0]
        assert there.anonymous.get(file["download_url"]).content == FILES["image/png"]
        assert back.write("2026-03-06").status_code == 201


def test_an_archive_alone_brings_back_every_event(
    request: pytest.FixtureRequest, up: Up, elsewhere: Up, backup: Path, diarist: Person
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("tests/e2e/test_archive.py does the same by hand; --long follows the page")
    archived = events_in(data_of(backup) / "events.jsonl.zst")
    elsewhere.home.mkdir()
    follow('cp -p backup/master/master.* "$MINDSTREAM_HOME"/', elsewhere.env, backup)

    (block,) = commands(PAGE, "Restore from the archive")
    said = follow(block, elsewhere.env, backup)

    erased = sum(b"accounts.SubjectErased" in line for line in archived)
    closed = re.search(r"sealed of (\d+) people cannot be opened", said)
    assert (0 if closed is None else int(closed[1])) == erased, "all but the erased can be read"
    assert exported(elsewhere, backup) == archived
    files = files_of(diarist, up)
    assert len(files) == 2, "the picture, and a small one of it"
    assert files_of(diarist, elsewhere) == files


def files_of(person: Person, at: Up) -> dict[str, bytes]:
    """What is stored of somebody's files, as it is there."""
    found = (at.home / "objects").rglob(f"{person.id}/*")
    return {path.name: path.read_bytes() for path in found}


def test_the_practice_compares_and_leaves_nothing(
    request: pytest.FixtureRequest, up: Up, diarist: Person, tmp_path: Path
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("the drill above restores the same dump elsewhere; --long follows the practice")
    (practice,) = commands(PAGE, "Practise")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    env = {**up.env, "OTHER_PORT": str(free_port()), "TMPDIR": str(temporary)}
    said = follow(practice, env, tmp_path)
    assert "every event is there" in said
    assert said.rstrip().endswith("says what its events say")
    assert list(temporary.iterdir()) == []
    databases = follow("mindstream psql -qAtc 'SELECT datname FROM pg_database'", up.env, tmp_path)
    assert "mindstream_practice" not in databases
    assert diarist.get("/v1/journal/entries").status_code == 200
