"""A task ends although it forgets that it was told to."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from adapters import ending
from adapters.ending import end

pytestmark = pytest.mark.anyio


async def test_a_task_that_forgets_a_cancellation_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "AGAIN", 0.01)
    told = 0

    async def forgetful() -> None:
        nonlocal told
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1
                if told == 3:
                    raise

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await end(task)

    assert told == 3
    assert task.cancelled()


async def test_errors_are_nobodys_and_what_has_ended_stays_as_it_is() -> None:
    async def fails() -> None:
        raise RuntimeError("it does")

    failing = asyncio.create_task(fails())
    done = asyncio.create_task(asyncio.sleep(0, result="kept"))
    with suppress(RuntimeError):
        await failing
    await end(failing, done)
    await end()

    assert done.cancelled() or done.result() == "kept"
