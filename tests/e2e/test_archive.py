"""A store moves to another home in a file, and its people's data is there again."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import OPERATOR, WITHOUT_LIMITS
from tests.support.people import People, Person
from tests.support.servers import wait_until
from tests.support.upped import Up, prepared


@pytest.fixture
def archive(up: Up, person: Person, tmp_path: Path) -> Path:
    """What a running system exports, with a day that this test knows."""
    body = {"date": "2026-03-01", "title": "A day to carry along", "content": "Warm."}
    assert person.post("/v1/journal/entries", body).status_code == 201
    path = tmp_path / "events.jsonl"
    done = up.cli("events", "export", str(path), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    lines = path.read_bytes().splitlines()
    assert said["events"] == len(lines) - 1 == json.loads(lines[-1])["count"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path


def erased_since(up: Up, leaving: Person, keys: Path) -> None:
    """Somebody is erased, and the key file becomes that of today."""
    asked = leaving.post("/v1/me/erasure")
    assert asked.status_code == 202, asked.text
    assert leaving.ended(asked.headers["Location"])[0]["state"] == "succeeded"
    refused = up.cli("keys", "export", str(keys))
    assert refused.returncode == 4, "a key file that is there is not replaced unasked"
    exported = up.cli("keys", "export", str(keys), "--yes", "--json")
    assert exported.returncode == 0, exported.stderr
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_archive_is_restored_elsewhere_and_only_there(
    up: Up, archive: Path, people: People, tmp_path: Path
) -> None:
    leaving = people.new()
    refused = up.cli("events", "import", str(archive), "--json")
    assert (refused.returncode, refused.stdout) == (4, "")
    kept = up.cli("events", "export", str(archive))
    assert kept.returncode == 4, "an archive that is there is not replaced unasked"

    packed = tmp_path / "events.zst"
    keys = tmp_path / "keys.jsonl"
    written = {"date": "2026-03-01", "title": "Words of somebody who is erased", "content": "x"}
    assert leaving.post("/v1/journal/entries", written).status_code == 201
    exported = up.cli("events", "export", str(packed), "--zstd", "--keys", str(keys))
    assert exported.returncode == 0, exported.stderr
    assert packed.stat().st_size < archive.stat().st_size
    assert b"A day to carry along" not in archive.read_bytes()
    erased_since(up, leaving, keys)

    without_operator = {
        name: value for name, value in WITHOUT_LIMITS.items() if "OPERATOR" not in name
    }
    master_key = (up.home / "master.key").read_text().strip()
    with prepared(MINDSTREAM_MASTER_KEY=master_key, **without_operator) as other:
        other.start()
        damaged = tmp_path / "damaged.jsonl"
        whole = archive.read_bytes()
        damaged.write_bytes(whole[: len(whole) // 2])
        refused = other.cli("events", "import", str(damaged))
        assert refused.returncode == 1
        assert "nothing was written" in refused.stderr
        done = other.cli("events", "import", str(packed), "--keys", str(keys), "--json")
        assert done.returncode == 0, done.stderr
        events = json.loads(done.stdout)["events"]
        assert events >= json.loads(whole.splitlines()[-1])["count"]
        assert other.stop() == 0

        # Passwords stay behind: the settings let the operator in again.
        other.env["MINDSTREAM_OPERATOR_EMAIL"], other.env["MINDSTREAM_OPERATOR_PASSWORD"] = OPERATOR
        other.start()
        with httpx.Client(base_url=other.gateway, timeout=30) as client:
            login = {"email": OPERATOR[0], "password": OPERATOR[1]}
            answer = client.post("/v1/auth/login", json=login)
            assert answer.status_code == 200, answer.text
            token = answer.json()["data"]["access_token"]
            client.headers["authorization"] = f"Bearer {token}"

            def caught_up() -> bool:
                listed = client.get("/v1/ops/projections").json()["data"]
                return all(each["gap_events"] == 0 for each in listed)

            wait_until(caught_up, what="the read models have caught up")
            listed = client.get("/v1/ops/projections").json()["data"]
            assert min(each["position"] for each in listed) > events
            found = client.get("/v1/ops/audit", params={"action": "journal.EntryWritten"})
            titles = [item["after"]["title"] for item in found.json()["data"]]
            assert "A day to carry along" in titles
            assert {"sealed": True} in titles  # for good: its key is gone
            assert written["title"] not in found.text
        again = tmp_path / "again.jsonl"
        assert other.cli("events", "export", str(again)).returncode == 0
        assert again.read_bytes().startswith(whole[: whole.rindex(b"\n", 0, -1)])
