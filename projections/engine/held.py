"""A view of which this process holds partitions: where each is, and what waits of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from domain.event import Recorded, topics_of, undecodable
from projections.engine.checkpoints import Connection
from projections.engine.leases import Slot
from projections.engine.outside import Writer, writer_of
from projections.engine.quarantine import Waiting
from projections.engine.source import WHOLE, Slice
from projections.engine.view import RowView


class Held:
    """What the runner knows of one view; ``positions`` are those of the partitions it holds."""

    def __init__(self, view: RowView[Any], generation: int) -> None:
        self.view = view
        self.topics = frozenset(topics_of(view.takes))
        self.generation = generation
        self.positions: dict[int, int] = {}
        self.adopted: dict[int, float] = {}
        """Partitions whose turn it is elsewhere, and until when they stay here all the same."""
        self.writer: Writer | None = None
        self.failures = 0
        self.not_before = 0.0
        self.error: str | None = None
        self.beaten = 0.0
        self.rate = 0.0
        self.paused = False
        self.waiting: dict[str, Waiting] = {}

    @property
    def position(self) -> int:
        """What all partitions that are held have passed."""
        return min(self.positions.values())

    def slots(self) -> list[Slot]:
        """The partitions, as leases name them."""
        return [Slot(self.view.name, index, self.view.partitions) for index in self.positions]

    def writes(self, connection: Connection) -> Writer:
        """The writer of the live table, made when it is first needed."""
        if self.writer is None:
            self.writer = writer_of(self.view, connection, self.view.table)
        return self.writer

    def mine(self, page: Sequence[Recorded]) -> list[Recorded]:
        """The events of a page that the view takes and that do not wait in quarantine."""
        takes, held = self.view.takes, self.waiting
        return [
            recorded
            for recorded in page
            if (type(recorded.event) in takes or self._would_take(recorded))
            and recorded.stream_id not in held
        ]

    def _would_take(self, recorded: Recorded) -> bool:
        broken = undecodable(recorded)
        return broken is not None and broken.TOPIC in self.topics


class Turn(NamedTuple):
    """Partitions of one view that move together."""

    state: Held
    partitions: tuple[int, ...]

    @property
    def streams(self) -> Slice:
        """What is read for them."""
        of = self.state.view.partitions
        return WHOLE if len(self.partitions) == of else Slice(self.partitions, of)

    def moved(self, to: int) -> None:
        """Take note of where they are now."""
        for partition in self.partitions:
            self.state.positions[partition] = to

    def told(self) -> list[int] | None:
        """Which they are, as a notice says it: None for all that there are."""
        whole = len(self.partitions) == self.state.view.partitions
        return None if whole else list(self.partitions)


def turns_at(states: Iterable[Held], position: int) -> list[Turn]:
    """What stands at a position and can share a page: whatever reads the same streams as the first.

    Partitions of one view at one position are one turn, so that they share pages from then on.
    """
    turns = [
        Turn(state, partitions)
        for state in states
        if (partitions := tuple(sorted(i for i, at in state.positions.items() if at == position)))
    ]
    return [turn for turn in turns if turn.streams == turns[0].streams]
