"""One look for all consoles that are open, and none while there is none."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from adapters.statuses import never_begun
from projections.following import Ended, Reason, TooMany
from projections.oversight import Oversight, Pulse
from read_api.console.pulse import MOST_OF_ONE, Beat, Beats, Listener, beat_of
from tests.support.waiting import eventually_async

pytestmark = pytest.mark.anyio

EVERY = 0.02


class Looked:
    """An oversight that counts how often it is asked."""

    def __init__(self) -> None:
        self.looks = 0
        self.head = 7
        self.fails = False

    async def pulse(self) -> Pulse:
        self.looks += 1
        if self.fails:
            raise OSError
        return Pulse([never_begun("a.view", 1, self.head)], {"parked": 1}, {}, [])


class Pass:
    """Credentials that are good until somebody says otherwise."""

    def __init__(self) -> None:
        self.reason: Reason | None = None

    def good(self) -> bool:
        return self.reason is None

    async def check(self) -> Reason | None:
        return self.reason


@pytest.fixture
def looked() -> Looked:
    return Looked()


@pytest.fixture
def beats(looked: Looked) -> Beats:
    return Beats(cast("Oversight", looked), EVERY)


async def told(listener: Listener) -> Beat:
    """The next beat."""
    async with asyncio.timeout(5):
        while not (found := await listener.next(1)):
            pass
    return found[0]


async def why_it_ends(listener: Listener) -> Reason:
    async with asyncio.timeout(5):
        while True:
            try:
                await listener.next(1)
            except Ended as ended:
                return ended.reason


async def test_listeners_share_a_look_and_nobody_looks_for_nobody(
    beats: Beats, looked: Looked
) -> None:
    tasks = len(asyncio.all_tasks())
    listeners = [beats.listen(f"user:{number}", Pass()) for number in range(10)]
    assert {(await told(each)).position for each in listeners} == {7}
    assert looked.looks == 1
    looked.head = 8
    assert {(await told(each)).values["a.view/gap"] for each in listeners} == {"8"}
    late = beats.listen("user:late", Pass())
    assert (await told(late)).position == 8
    for each in (*listeners, late):
        each.close()

    async def nobody_looks() -> bool:
        return len(asyncio.all_tasks()) == tasks

    await eventually_async(nobody_looks, within=5)
    again = beats.listen("user:1", Pass())
    assert (await told(again)).position == 8
    again.close()


async def test_what_stays_the_same_is_told_once(beats: Beats, looked: Looked) -> None:
    listener = beats.listen("user:1", Pass())
    await told(listener)
    begun = looked.looks

    async def has_looked() -> bool:
        return looked.looks > begun + 3

    heard: list[Any] = []
    listening = asyncio.create_task(_into(heard, listener))
    await eventually_async(has_looked, within=5)
    # A rate is known from the second look on.
    assert len(heard) <= 1
    listening.cancel()
    listener.close()


async def _into(heard: list[Any], listener: Listener) -> None:
    while True:
        heard += await listener.next(1)


async def test_streams_end_with_the_login_the_database_and_the_process(
    beats: Beats, looked: Looked
) -> None:
    credentials = Pass()
    gone, other = beats.listen("user:1", credentials), beats.listen("user:2", Pass())
    await told(gone)
    credentials.reason = "unauthenticated"
    assert await why_it_ends(gone) == "unauthenticated"
    gone.close()
    await told(other)
    looked.fails = True
    assert await why_it_ends(other) == "unavailable"
    other.close()
    looked.fails = False
    last = beats.listen("user:3", Pass())
    await told(last)
    winding = asyncio.create_task(beats.wind_down())
    assert await why_it_ends(last) == "closing"
    last.close()
    await winding
    with pytest.raises(Ended):
        beats.listen("user:4", Pass())


async def test_nobody_listens_too_often(beats: Beats) -> None:
    listeners = [beats.listen("user:1", Pass()) for _ in range(MOST_OF_ONE)]
    with pytest.raises(TooMany):
        beats.listen("user:1", Pass())
    for each in listeners:
        each.close()


def test_another_shape_is_more_than_other_texts() -> None:
    def of(head: int, **quarantine: int) -> Beat:
        return beat_of(Pulse([never_begun("a.view", 1, head)], quarantine, {}, []), None)

    assert of(1).shape == of(2).shape
    assert of(1).values != of(2).values
    assert of(1).shape != of(1, parked=1).shape
