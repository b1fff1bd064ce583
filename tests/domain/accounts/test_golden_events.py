"""Every version of an event that was ever written can be read for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.event_store.mapper import decode, encode
from domain.accounts import events
from domain.event import type_of

FIXTURES = Path(__file__).parents[3] / "schema" / "events"
TOPICS = sorted(topic for topic in type_of if topic.startswith("accounts."))


WRITTEN = sorted(path.stem for path in FIXTURES.glob("accounts.*.json"))
"""Every topic under which an event was ever written."""


def test_each_event_has_a_fixture() -> None:
    assert events.PersonRegistered.TOPIC in TOPICS
    assert set(TOPICS) <= set(WRITTEN)


@pytest.mark.parametrize("topic", WRITTEN)
def test_a_stored_event_is_read_whole_and_written_alike(topic: str) -> None:
    stored = json.loads((FIXTURES / f"{topic}.json").read_bytes())
    event = decode(topic, json.dumps(stored).encode())
    if topic in TOPICS:  # a superseded one is read as what follows it
        assert topic == event.TOPIC
        assert json.loads(encode(event)) == stored
