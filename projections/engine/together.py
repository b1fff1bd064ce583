"""Rebuilding several views at once: events are read and decoded once for those that share them.

Owns which views share a reading, and that each has an end of its own for all that: its own
comparison, swap and result, and a failure that is its alone. The steps are ``growth``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from uuid import UUID

import msgspec

from domain.event import topics_of
from projections.engine.building import Build, Heed
from projections.engine.checkpoints import Connection
from projections.engine.growing import Sources, grow
from projections.engine.growth import Work
from projections.engine.outcomes import Options, Report
from projections.engine.view import RowView

Opened = Callable[[RowView[Any]], AbstractContextManager[Connection]]
"""A connection that holds the lease of rebuilding a view."""
SourcesOf = Callable[[RowView[Any]], Sources]
"""Where a view's events are read: some views ask for more of an event than others."""


class Wish(msgspec.Struct, frozen=True):
    """A whole view that is to be rebuilt; ``ended`` is called once, with what became of it.

    ``heed`` and ``ended`` are called in a thread of this wish's own.
    """

    view: RowView[Any]
    options: Options
    operation_id: UUID | None
    heed: Heed
    ended: Callable[[Report | BaseException], None]


class _Member:
    """One wish under way."""

    def __init__(self, wish: Wish, work: Work) -> None:
        self.wish = wish
        self.work = work
        self.held = ExitStack()
        """What is to be given up at the end."""
        self.build, self.goal = work.begin()
        self.alike = (len(self.build.parts()), wish.view.with_metadata)
        """What those that share a reading have in common, beside topics."""
        self.topics = frozenset(topics_of(wish.view.takes))

    def complete(self, *, alone: bool) -> None:
        try:
            outcome: Report | BaseException = self.work.complete(self.build, alone=alone)
        except BaseException as error:  # noqa: BLE001 - it is told to whoever wished it
            outcome = error
        self.end(outcome)

    def end(self, outcome: Report | BaseException) -> None:
        try:
            with self.held:
                if isinstance(outcome, BaseException):
                    self.work.undo(outcome)
                self.work.close()
        except Exception as error:  # noqa: BLE001 - the database went away, most likely
            outcome = outcome if isinstance(outcome, BaseException) else error
        self.wish.ended(outcome)


def rebuild_together(
    dsn: str, role: str, sources: SourcesOf, wishes: Sequence[Wish], opened: Opened
) -> None:
    """Rebuild all of them, and return when each has been told its end."""
    members = []
    for wish in wishes:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(opened(wish.view))
                work = Work(
                    dsn,
                    role,
                    sources(wish.view),
                    wish.view,
                    connection,
                    wish.options,
                    wish.heed,
                    wish.operation_id,
                )
                members.append(_Member(wish, work))
                members[-1].held = stack.pop_all()
            except BaseException as error:  # noqa: BLE001 - it is told to whoever wished it
                wish.ended(error)
    if not members:
        return
    groups = _groups(members)
    with ThreadPoolExecutor(len(members)) as pool:
        running: list[Future[None]] = [
            pool.submit(_grown, dsn, role, sources(group[0].wish.view), group, len(members) == 1)
            for group in groups
        ]
        for each in running:
            each.result()


def _grown(dsn: str, role: str, sources: Sources, members: Sequence[_Member], alone: bool) -> None:
    """Grow all members from one reading; each is then completed by itself."""
    builds: list[Build] = [member.build for member in members]
    goal = min(member.goal for member in members)
    errors: list[Exception | None]
    try:
        errors = grow(dsn, role, sources, builds, goal)
    except Exception as error:  # noqa: BLE001 - a process or the database has gone
        errors = [error] * len(members)
    left = []
    for member, why in zip(members, errors, strict=True):
        if why is None:
            left.append(member)
        else:
            member.end(member.work.why(member.build, why))
    if not left:
        return
    with ThreadPoolExecutor(len(left)) as pool:
        for member in left:
            pool.submit(member.complete, alone=alone)


def _groups(members: Sequence[_Member]) -> list[list[_Member]]:
    """Those that share a reading: alike, and taking some of the same topics."""
    groups: list[list[_Member]] = []
    for member in members:
        for group in groups:
            alike = group[0].alike == member.alike
            if alike and any(member.topics & other.topics for other in group):
                group.append(member)
                break
        else:
            groups.append([member])
    return groups
