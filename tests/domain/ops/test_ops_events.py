"""What operators did can be read for ever."""

from __future__ import annotations

from pathlib import Path

import msgspec

from adapters.event_store.mapper import decode, encode
from domain.ops.events import ActionTaken

FIXTURE = Path(__file__).parents[3] / "schema" / "events" / "ops.ActionTaken.v1.json"


def test_a_stored_event_is_read_and_written_as_it_was() -> None:
    event = decode(FIXTURE.stem, FIXTURE.read_bytes())
    assert type(event) is ActionTaken
    assert FIXTURE.stem == event.TOPIC
    assert msgspec.json.decode(encode(event)) == msgspec.json.decode(FIXTURE.read_bytes())
