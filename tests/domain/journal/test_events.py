"""Every version of an event that was ever written can be read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from adapters.event_store.mapper import decode, encode
from domain.event import type_of
from domain.journal import events

FIXTURES = Path(__file__).parents[3] / "schema" / "events"
ALL = sorted(FIXTURES.glob("journal.*.json"))


@pytest.mark.parametrize("fixture", ALL, ids=lambda path: path.stem)
def test_a_stored_event_is_read_and_written_as_it_was(fixture: Path) -> None:
    event = decode(fixture.stem, fixture.read_bytes())
    if fixture.stem == event.TOPIC:
        assert msgspec.json.decode(encode(event)) == msgspec.json.decode(fixture.read_bytes())


def test_each_current_event_has_its_fixture() -> None:
    topics = {topic for topic, kind in type_of.items() if kind.__module__ == events.__name__}
    assert topics <= {fixture.stem for fixture in ALL}
    assert len(topics) == 12
