"""A reaction that writes files, and a process of its own that runs it: something to be killed.

``python -m tests.support.reacting DSN FOLDER`` reacts until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from adapters.event_store.metadata import SourceWithMetadata
from adapters.reactions import PostgresLedger
from domain.event import Event, Recorded
from domain.reaction import Effect
from tests.support.diary_view import NoteRevised, NoteWritten
from workers.reactions import Reaction, Reactor


class Letters(Reaction):
    """Writes one letter for each note: a line for each time that it was tried."""

    name: ClassVar[str] = "tests.letters"
    takes: ClassVar[tuple[type[Event], ...]] = (NoteWritten, NoteRevised)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before: Callable[[Recorded], None] = lambda recorded: None

    async def react(self, recorded: Recorded, key: UUID) -> Effect | None:
        self.before(recorded)
        assert isinstance(recorded.event, NoteWritten | NoteRevised)
        with (self.folder / f"{recorded.position:06}-{key}").open("a") as file:
            file.write(f"{recorded.event.body}\n")
        return Effect(did="letter", id=str(key), subject_id=recorded.event.note_id)

    @property
    def written(self) -> list[str]:
        """All that was written, in the order of the events, repeats included."""
        return [line for path in sorted(self.folder.iterdir()) for line in path.read_text().split()]


def reactor(
    dsn: str,
    reactions: Sequence[Reaction],
    *,
    page: int = 100,
    ledger: PostgresLedger | None = None,
) -> Reactor:
    return Reactor(ledger or PostgresLedger(dsn), SourceWithMetadata(dsn), reactions, page=page)


@asynccontextmanager
async def running(dsn: str, *reactions: Reaction, **more: Any) -> AsyncIterator[None]:
    """A reactor at work as long as the context lasts."""
    stop = asyncio.Event()
    working = asyncio.create_task(reactor(dsn, reactions, **more).run(stop))
    try:
        yield
    finally:
        stop.set()
        await working


async def _main(dsn: str, folder: Path) -> None:
    await reactor(dsn, [Letters(folder)]).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
