from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.event_store.mapper import decode, encode
from domain.event import Event, Recorded
from domain.flags.events import FlagDeleted, FlagSet
from domain.flags.flag import Flag, FlagChanges, FlagRules, flag_id, is_name, share_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNA, BEN = UUID(int=1), UUID(int=2)
FIXTURES = Path(__file__).parents[3] / "schema" / "events"


def given_events(*events: Event) -> Flag | None:
    flag: Flag | None = None
    for version, event in enumerate(events, 1):
        flag = Flag.evolve(
            flag,
            Recorded(
                position=version,
                stream_id=Flag.stream("new"),
                stream_version=version,
                tenant_id=ANNA,
                recorded_at=NOON + timedelta(hours=version),
                event=event,
            ),
        )
    return flag


def flag(**rules: object) -> Flag:
    wanted = msgspec.convert({"enabled": True, **rules}, FlagRules)
    made = given_events(*Flag.put(None, "new", wanted))
    assert made is not None
    return made


def test_a_flag_is_off_until_it_is_enabled() -> None:
    everything = {"percentage": 100, "people": [str(ANNA)], "tiers": ["basic"]}
    assert not flag(enabled=False, **everything).is_on(ANNA, "basic")
    assert flag(**everything).is_on(ANNA, "basic")


def test_people_and_tiers_have_it_whatever_the_share() -> None:
    assert flag(people=[str(ANNA)]).is_on(ANNA, "basic")
    assert not flag(people=[str(ANNA)]).is_on(BEN, "basic")
    assert flag(tiers=["pro"]).is_on(BEN, "pro")
    assert not flag(tiers=["pro"]).is_on(BEN, "basic")


@given(st.uuids(), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_share_takes_nobody_out(person: UUID, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert flag(percentage=more).is_on(person, "basic") or not flag(percentage=less).is_on(
        person, "basic"
    )
    assert flag(percentage=100).is_on(person, "basic")
    assert not flag(percentage=0).is_on(person, "basic")


def test_a_share_is_as_large_as_it_says_and_other_people_for_another_flag() -> None:
    people = [UUID(int=number) for number in range(4_000)]
    has = {person for person in people if flag(percentage=25).is_on(person, "basic")}
    assert 900 < len(has) < 1100
    other = {person for person in people if share_of("other", person) < 2500}
    assert 150 < len(has & other) < 350
    # The same for ever: what this says is kept by clients.
    assert [share_of("new", person) for person in people[:3]] == [3844, 6755, 3105]


def test_a_flag_is_revised_deleted_and_set_again() -> None:
    before = flag(percentage=10, tiers=["pro"])
    assert before.revise(FlagChanges(percentage=10.0)) == ()
    [event] = before.revise(FlagChanges(percentage=None, description="Why"))
    assert isinstance(event, FlagSet)
    assert (event.percentage, event.tiers, event.description) == (0.0, ("pro",), "Why")
    begun = before.as_set()
    [end] = before.delete()
    assert end == FlagDeleted(flag_id=flag_id("new"), name="new")
    gone = given_events(begun, end)
    assert gone is not None
    assert gone.deleted
    assert not gone.is_on(ANNA, "pro")
    assert Flag.put(gone, "new", FlagRules()) != ()
    again = given_events(begun, end, begun)
    assert again is not None
    assert (again.version, again.created_at) == (3, NOON + timedelta(hours=3))


@pytest.mark.parametrize(
    ("name", "good"),
    [("new", True), ("editor.new-look_2", True), ("", False), ("New", False), ("a..b", False),
     ("-a", False), ("a" * 100, True), ("a" * 101, False), ("ä", False), ("a\n", False)],
)  # fmt: skip
def test_names(name: str, good: bool) -> None:
    assert is_name(name) is good


@pytest.mark.parametrize("topic", ["flags.FlagSet.v1", "flags.FlagDeleted.v1"])
def test_a_stored_event_is_read_whole_and_written_alike(topic: str) -> None:
    stored = json.loads((FIXTURES / f"{topic}.json").read_bytes())
    assert json.loads(encode(decode(topic, json.dumps(stored).encode()))) == stored
