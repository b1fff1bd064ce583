"""Pages of `docs/how-to/` for operators, followed word by word on a running system.

Each command is a process of its own: what only looks is followed with `--long`, the rest always.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.followed import commands, follow
from tests.support.people import People, Person, token_of
from tests.support.upped import Up

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.fixture
def diarist(people: People) -> Person:
    """Somebody with an entry that is shown."""
    person = people.new()
    written = person.write("2026-03-01")
    person.get("/v1/journal/entries", headers=token_of(written)).raise_for_status()
    return person


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for all of it."""
    return bool(request.config.getoption("--long"))


def test_rebuilding_safely(up: Up, diarist: Person, tmp_path: Path, long: bool) -> None:
    page = "rebuild-safely.md"
    headings = ("Before", "Rebuild", "Back, if you do not like it", "One row, or one day")
    for heading in headings if long else ():
        for block in commands(page, heading):
            follow(block, up.env, tmp_path)
    (practice,) = commands(page, "Practise")
    said = follow(practice, up.env, tmp_path)
    assert "it is refused" in said
    assert said.rstrip().endswith("equal")
    assert [path.name for path in tmp_path.iterdir()] == ["said.txt"], "nothing is left behind"
    month = diarist.get("/v1/journal/calendar/2026/3").json()["data"]
    assert month[0]["has_entry"]


def test_recovering_from_a_poisoned_event(
    up: Up, diarist: Person, tmp_path: Path, long: bool
) -> None:
    page = "recover-from-a-poisoned-event.md"
    for look in commands(page, "See it") if long else ():
        follow(look, up.env, tmp_path)
    poisoning, *rest = commands(page, "Practise")
    times = 2 if long else 1
    for _ in range(times):
        script = "\n".join((poisoning, *rest))
        said = follow(script, {**up.env, "WHO": diarist.email}, tmp_path)
        assert "UndecodableEvent" in said
        assert said.rstrip().endswith("equal")
    assert len(diarist.whole_list()) == 1 + times
    assert [path.name for path in tmp_path.iterdir()] == ["said.txt"], "nothing is left behind"
    if long:
        # An import that is refused leaves nothing to spoil, whatever was written last.
        said = follow(poisoning, {**up.env, "WHO": "nobody@example.org"}, tmp_path)
        assert "begin again" in said
        look = "mindstream psql -qAtc \"SELECT count(*) FROM events WHERE data = 'spoilt'\""
        assert follow(look, up.env, tmp_path).strip() == "0"


def test_replacing_every_process(up: Up, tmp_path: Path, long: bool) -> None:
    if not long:
        pytest.skip("test_rolling_restart does the same under a load; --long follows the page")
    (practice,) = commands("upgrade.md", "Practise")
    said = follow(practice, up.env, tmp_path)
    counted = dict(reversed(line.split(None, 1)) for line in said.splitlines()[-2:])
    assert set(counted) == {"GET 401", "POST 401"}, said
    assert all(int(count) > 10 for count in counted.values()), said
    assert [path.name for path in tmp_path.iterdir()] == ["said.txt"], "nothing is left behind"


def test_erasing_somebody(up: Up, diarist: Person, tmp_path: Path) -> None:
    page = "erase-a-person.md"
    env = {**up.env, "WHO": diarist.email}
    for heading in ("Look first", "Erase", "Then"):
        for block in commands(page, heading):
            said = follow(block, env, tmp_path)
    assert diarist.id in said, "the events name who was erased"
    assert json.loads((tmp_path / "report.json").read_bytes())["signature"]
    [key] = [
        json.loads(line)
        for line in (tmp_path / "backup/keys/keys.jsonl").read_text().splitlines()
        if diarist.id in line
    ]
    assert key["wrapped"] is None
    assert diarist.get("/v1/me").status_code == 401
