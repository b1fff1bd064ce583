"""Growing several generations at once: each page is read and decoded for all of them.

Owns the parts and their processes: streams are shared out by hash, and each part goes its own way
through the events. Between pages it asks each build what is wanted of it: one that is to wait or to
end, or that cannot be folded, leaves the others to go on.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from typing import Any

from projections.engine import generations
from projections.engine.building import Build, Died
from projections.engine.folding import (
    GO,
    HEED_EVERY,
    LEAVE,
    WAIT,
    Folding,
    Target,
    Unfoldable,
    connect,
    fold,
)
from projections.engine.source import EventSource

WORTH_PARTS = 100_000
"""Events below which a second process takes longer to start than it saves."""
COLLECT_EVERY = 100
"""Pages between two garbage collections of a part, whose objects are in no cycles."""
NICE = 5
"""What a part's process gives way by: live projections and requests come first."""

Sources = Callable[[], EventSource]


def grow(
    dsn: str, role: str, sources: Sources, builds: Sequence[Build], goal: int
) -> list[Exception | None]:
    """Fold everything up to ``goal`` into all builds, which have as many parts as each other.

    What became of each: None, or why it cannot go on. It returns early where nothing is left but
    builds that are to wait while another is there: each then goes on by itself.

    Raises:
        Died: a process ended early; what it committed stays, and may be gone on from.
        psycopg.OperationalError: the database does not answer.
    """
    growing = _Growing(builds, goal)
    parts = len(builds[0].parts())
    if parts == 1 or goal - growing.hindmost < WORTH_PARTS:
        for index in range(parts):
            _in_turn(dsn, role, sources, growing, index)
    else:
        _side_by_side(dsn, role, sources, growing, parts)
    return growing.outcomes()


class _Growing:
    """What is wanted of each build, and what became of it."""

    def __init__(self, builds: Sequence[Build], goal: int) -> None:
        self.builds = builds
        self.goal = goal
        self.states: Any = [GO] * len(builds)
        self.failed: Any = [False] * len(builds)
        self._errors: list[Exception | None] = [None] * len(builds)
        self._looked = 0.0

    @property
    def hindmost(self) -> int:
        return min(part.position for build in self.builds for part in build.parts())

    @property
    def targets(self) -> list[Target]:
        return [build.target for build in self.builds]

    def look(self) -> bool:
        """Ask what is wanted of each build, now and then; whether there is something to do."""
        if time.monotonic() - self._looked < HEED_EVERY:
            return True
        for at, build in enumerate(self.builds):
            if self.states[at] == LEAVE or self.failed[at]:
                continue
            try:
                self.states[at] = GO if build.asked() else WAIT
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this build's alone
                self.states[at], self._errors[at] = LEAVE, error
        self._looked = time.monotonic()
        return not self._others_are_there()

    def _others_are_there(self) -> bool:
        """Whether some builds are at the goal, and those that are not only wait."""
        if len(self.builds) == 1 or WAIT not in list(self.states):
            return False
        there = [all(part.position >= self.goal for part in build.parts()) for build in self.builds]
        waits = [state != GO for state in self.states]
        return any(there) and all(map(any, zip(there, waits, strict=True)))

    def outcomes(self) -> list[Exception | None]:
        return [
            Unfoldable(build.target.view.name) if self.failed[at] else self._errors[at]
            for at, build in enumerate(self.builds)
        ]


def _in_turn(dsn: str, role: str, sources: Sources, growing: _Growing, index: int) -> None:
    with connect(dsn, role, "rebuild-part") as connection:
        source = sources()
        try:
            fold(
                source,
                [
                    Folding(
                        connection,
                        target,
                        generations.parts_of(connection, target.generation)[index],
                    )
                    for target in growing.targets
                ],
                growing.goal,
                states=growing.states,
                failed=growing.failed,
                tick=growing.look,
            )
        finally:
            source.close()


def _side_by_side(dsn: str, role: str, sources: Sources, growing: _Growing, parts: int) -> None:
    context = multiprocessing.get_context("spawn")
    count = len(growing.builds)
    growing.states = context.Array("i", growing.states, lock=False)
    growing.failed = context.Array("i", [0] * count, lock=False)
    end = context.Event()
    running: list[SpawnProcess] = []
    for index in range(parts):
        what = (dsn, role, sources, growing.targets, index, growing.goal)
        shared = (growing.states, growing.failed, end)
        process = context.Process(target=fold_part, args=(*what, *shared), daemon=True)
        process.start()
        running.append(process)
    try:
        while any(process.is_alive() for process in running):
            if any(process.exitcode for process in running) or not growing.look():
                break
            next(process for process in running if process.is_alive()).join(HEED_EVERY)
    finally:
        end.set()
        for process in running:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()
    if any(process.exitcode for process in running):
        raise Died("a part ended with an error")


def fold_part(
    dsn: str,
    role: str,
    sources: Sources,
    targets: Sequence[Target],
    index: int,
    goal: int,
    states: Any,
    failed: Any,
    end: Any,
) -> None:
    """The work of a process of its own: one part up to ``goal``, as long as its parent lives."""
    parent = multiprocessing.parent_process()
    os.nice(NICE)
    gc.disable()
    pages = 0

    def tick() -> bool:
        nonlocal pages
        pages += 1
        if pages % COLLECT_EVERY == 0:
            gc.collect()
        return not end.is_set() and (parent is None or parent.is_alive())

    with connect(dsn, role, "rebuild-part") as connection:
        source = sources()
        foldings = [
            Folding(connection, target, generations.parts_of(connection, target.generation)[index])
            for target in targets
        ]
        fold(source, foldings, goal, states=states, failed=failed, tick=tick)
        source.close()
