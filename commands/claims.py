"""Which claims follow from which events, so that they can be made anew from a store's history.

A handler takes and frees claims as it appends (``commands.ports.Claim``). What is claimed is always
a function of an aggregate's state: this names that function for each kind of aggregate. An import
of an archive folds the events and claims what their streams hold.

Owns that table, and nothing of when a handler claims: a test holds the two to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from commands.accounts import EMAIL, USERNAME
from commands.journal import DAY, day_key
from commands.ports import Aggregate
from domain.accounts.person import Person
from domain.accounts.profile import email_key, username_key
from domain.event import Recorded
from domain.journal.entry import Entry

Name = tuple[str, str]
"""Kind and key of a claim."""


class Holds(msgspec.Struct, frozen=True):
    """What streams of one aggregate hold: ``names`` of a state, and whether ``firmly``.

    What is held but not firmly was taken before and is kept until another stream wants it.
    """

    aggregate: type[Aggregate]
    names: Callable[[Any], Iterable[Name]]
    firmly: Callable[[Any], bool] = lambda state: True


class Turn(msgspec.Struct, frozen=True):
    """At this position the stream took a name, or freed it."""

    kind: str
    key: str
    stream_id: str
    position: int
    taken: bool


def _of_person(person: Person) -> Iterator[Name]:
    yield EMAIL, email_key(person.email)
    if person.username is not None:
        yield USERNAME, username_key(person.username)


def _of_entry(entry: Entry) -> Iterator[Name]:
    yield DAY, day_key(entry.user_id, entry.date)


HOLDS: dict[str, Holds] = {
    holds.aggregate.CATEGORY: holds
    for holds in (
        Holds(Person, _of_person),
        # A deleted entry's day is free for whoever writes on it next.
        Holds(Entry, _of_entry, firmly=lambda entry: entry.state == "active"),
    )
}
"""By the category of streams. Whatever claims something must be here."""


def holds_of(stream_id: str) -> Holds | None:
    """What a stream's category holds; None where such streams claim nothing."""
    category, _, _ = stream_id.partition("-")
    return HOLDS.get(category)


def turns(holds: Holds, stream: Iterable[Recorded]) -> Iterator[Turn]:
    """What one stream took and freed, in the order of its events.

    Of all turns for one name, over all streams, the last by position says who holds it.
    """
    state: Any = None
    held: frozenset[Name] = frozenset()
    firm = erased = False
    for recorded in stream:
        state = holds.aggregate.evolve(state, recorded)
        # Whoever was erased holds nothing any more: not an address, and not a day either.
        erased = erased or recorded.erased
        names, was_firm = frozenset(() if erased else holds.names(state)), firm
        firm = holds.firmly(state)
        taken = (names if not was_firm else names - held) if firm else frozenset()
        for kind, key in sorted(taken):
            yield Turn(kind, key, recorded.stream_id, recorded.position, True)
        for kind, key in sorted(held - names):
            yield Turn(kind, key, recorded.stream_id, recorded.position, False)
        held = names
