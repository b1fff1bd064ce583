"""A view that this process holds: where it is, and what waits of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.event import Recorded, topics_of
from projections.engine.checkpoints import Checkpoint
from projections.engine.quarantine import Waiting
from projections.engine.view import RowView
from projections.engine.writer import ViewWriter


class Held:
    """What the runner knows of one view that it holds."""

    def __init__(self, view: RowView[Any], checkpoint: Checkpoint) -> None:
        self.view = view
        self.topics = frozenset(topics_of(view.takes))
        self.generation = checkpoint.generation
        self.position = checkpoint.position
        self.writer: ViewWriter | None = None
        self.failures = 0
        self.not_before = 0.0
        self.error: str | None = None
        self.beaten = 0.0
        self.rate = 0.0
        self.paused = False
        self.waiting: dict[str, Waiting] = {}

    def mine(self, page: Sequence[Recorded]) -> list[Recorded]:
        """The events of a page that the view takes and that do not wait in quarantine."""
        takes, held = self.view.takes, self.waiting
        return [
            recorded
            for recorded in page
            if type(recorded.event) in takes and recorded.stream_id not in held
        ]
