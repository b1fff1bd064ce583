"""`add-a-view.md` and `change-an-event.md` of `docs/how-to/`, followed in a copy of the house.

What is pasted always is: it has to fit and to be importable. With `--long` its tests run, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.followed import follow, pieces

ROOT = Path(__file__).resolve().parents[2]
LOOK = """
from bootstrap.settings import load
from bootstrap.views import view
from bootstrap.wiring.handlers import described
assert view("journal.places").table == "journal_places"
paths = {path for handler in described(load({})) for path in handler.paths}
assert "/v1/journal/places" in paths
"""
READ = """
from pathlib import Path
from adapters.event_store.mapper import decode
from domain.journal.events import EntryDeleted
for version, reason in (("v1", "person"), ("v2", "retention")):
    topic = f"journal.EntryDeleted.{version}"
    event = decode(topic, Path(f"schema/events/{topic}.json").read_bytes())
    assert type(event) is EntryDeleted and event.reason == reason, event
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the checkout, with this environment in it."""
    left = shutil.ignore_patterns(
        ".git", ".venv", ".mindstream", ".hypothesis", ".*_cache", "__pycache__"
    )
    shutil.copytree(ROOT, tmp_path / "house", ignore=left)
    (tmp_path / "house" / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path / "house"


@pytest.mark.timeout(300)
def test_a_view_is_added_as_the_page_says(house: Path, request: pytest.FixtureRequest) -> None:
    env = {**os.environ, "PYTHONPATH": str(house)}
    *edits, last = pieces("add-a-view.md")
    assert last[0] is None
    for path, text in edits:
        if path is None:
            follow(text, env, house)
        else:
            assert not (house / path).exists()
            (house / path).write_text(text)
    subprocess.run([sys.executable, "-c", LOOK], env=env, cwd=house, check=True)
    looked, checked, tested = last[1].strip().splitlines()
    said = follow(f"{looked}\n{checked}", env, house)
    assert "reformatted" not in said, "what the page shows is formatted"
    if request.config.getoption("--long"):
        tested += " --deselect tests/architecture/test_reference.py"
        tested += " --ignore tests/architecture/test_tutorial.py"
        follow(tested, env, house, seconds=240)


@pytest.mark.timeout(300)
def test_an_event_is_changed_as_the_page_says(house: Path, request: pytest.FixtureRequest) -> None:
    env = {**os.environ, "PYTHONPATH": str(house)}
    *edits, last = [text for _, text in pieces("change-an-event.md")]
    follow("\n".join(edits), env, house)
    subprocess.run([sys.executable, "-c", READ], env=env, cwd=house, check=True)
    if request.config.getoption("--long"):
        follow(last, env, house, seconds=240)
