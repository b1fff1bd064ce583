"""Which partitions a projector holds, what operators ask of them, and their signs of life.

Owns the looks that are taken twice a second: whose turn each partition is, what was paused, what
waits in quarantine. A projection that was built by another version of its view is nobody's: it says
what it waits for. Moving a partition on is the runner's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from projections.engine import checkpoints, metrics, quarantine
from projections.engine.checkpoints import Checkpoint, Connection
from projections.engine.held import Held
from projections.engine.leases import Leases, Slot
from projections.engine.quarantine import Waiting
from projections.engine.view import RowView

log = structlog.get_logger()

LOOK = 0.5
"""Seconds between two looks at leases and at what operators ask: pauses, retries, discards."""
BEAT = 3.0
"""Seconds between two signs of life of a view that has nothing to do."""
ORPHANED = 5.0
"""Seconds of silence after which a free partition is taken by whoever could work on it."""
ADOPTED = 10.0
"""Seconds for which it then stays there, before the one whose turn it is may have it again."""


class Holdings:
    """What one session of a projector holds of ``views``; gone with its connection."""

    def __init__(
        self, connection: Connection, views: Mapping[str, RowView[Any]], owner: str
    ) -> None:
        self._connection = connection
        self._views = views
        self._owner = owner
        self._leases = Leases(connection)
        self._looked_at = 0.0
        self._heeded_at = 0.0
        self.changes = 0
        """Grows whenever it holds something else than before."""
        self.states: dict[str, Held] = {}

    def __iter__(self) -> Iterator[Held]:
        return iter(self.states.values())

    def expire(self) -> None:
        """Have the next looks be taken at once."""
        self._looked_at = self._heeded_at = 0.0

    def look(self) -> None:
        """Take what is this session's turn and give what is another's, twice a second."""
        now = time.monotonic()
        if now - self._looked_at < LOOK:
            return
        self._looked_at = now
        known = self._known()
        able: set[Slot] = set()
        for name, view in self._views.items():
            if name in self.states and known[name][0].generation != self.states[name].generation:
                self.forget(self.states[name])  # it was rebuilt, or rolled back
            if self._fits(view, known[name]):
                able.update(Slot(name, index, view.partitions) for index in range(view.partitions))
            else:
                self._announce(view, known[name])
        self._leases.offer(able)
        standing = self._leases.look()
        self._give(standing.mine, now)
        for slot in sorted(standing.free & able):
            silent = known[slot.name][slot.partition].silent_seconds
            if slot in standing.mine or silent > ORPHANED:
                self._take(slot, None if slot in standing.mine else now + ADOPTED)

    def heed(self) -> list[tuple[Held, Waiting]]:
        """What of the quarantine is due to be tried again; takes note of pauses. Twice a second."""
        now = time.monotonic()
        if now - self._heeded_at < LOOK:
            return []
        self._heeded_at = now
        paused = {name for (name,) in self._connection.execute(checkpoints.PAUSED, prepare=True)}
        due: list[tuple[Held, Waiting]] = []
        for state in self:
            state.paused = state.view.name in paused
            self.take_in(state)
            due += [
                (state, waiting)
                for waiting in state.waiting.values()
                if waiting.item.partition in state.positions
                and (
                    waiting.item.state == "discarded"
                    or (waiting.item.state == "retrying" and waiting.due and not state.paused)
                )
            ]
        return due

    def take_in(self, state: Held) -> None:
        """Learn which streams wait in quarantine."""
        found = quarantine.open_items(self._connection, state.view.name)
        state.waiting = {waiting.item.stream_id: waiting for waiting in reversed(found)}
        metrics.quarantined.labels(state.view.name).set(len(state.waiting))

    def beat(self, state: Held, head: int) -> None:
        """Give a sign of life for everything that is held of a view."""
        if state.error is not None:
            status = "stalled"
        else:
            status = "live" if state.position >= head else "catching_up"
        values = (status, self._owner, state.error, state.view.name, list(state.positions))
        self._connection.execute(checkpoints.BEAT, values, prepare=True)
        state.beaten = time.monotonic()

    def forget(self, state: Held) -> None:
        """Let go of a view; the next look, which is at once, finds out how things stand."""
        for slot in state.slots():
            self._leases.give(slot)
            metrics.forget(slot.name, slot.partition)
        del self.states[state.view.name]
        self.changes += 1
        self._looked_at = 0.0

    def _known(self) -> dict[str, list[Checkpoint]]:
        known = checkpoints.read_partitions(self._connection)
        new = [view for name, view in self._views.items() if name not in known]
        if new:
            checkpoints.ensure(self._connection, new)
            known = checkpoints.read_partitions(self._connection)
        return known

    def _give(self, mine: frozenset[Slot], now: float) -> None:
        for state in list(self):
            for slot in state.slots():
                if slot in mine:
                    state.adopted.pop(slot.partition, None)
                elif now > state.adopted.get(slot.partition, 0.0):
                    self._leases.give(slot)
                    del state.positions[slot.partition]
                    state.adopted.pop(slot.partition, None)
                    self.changes += 1
                    metrics.forget(slot.name, slot.partition)
                    log.info("partition_given", projection=slot.name, partition=slot.partition)
            if not state.positions:
                del self.states[state.view.name]

    def _take(self, slot: Slot, until: float | None) -> None:
        if not self._leases.take(slot):
            return
        # Read only now: whoever had it may have moved it a moment ago.
        found = checkpoints.read_partitions(self._connection)[slot.name]
        view = self._views[slot.name]
        if not self._fits(view, found):
            self._leases.give(slot)
            return
        state = self.states.get(slot.name)
        if state is not None and state.generation != found[slot.partition].generation:
            self._leases.give(slot)
            return  # swapped this moment: the next look sees to it
        if state is None:
            state = self.states[slot.name] = Held(view, found[slot.partition].generation)
            self.take_in(state)
        state.positions[slot.partition] = found[slot.partition].position
        self.changes += 1
        state.beaten = 0.0  # say at once whose it is now
        if until is not None:
            state.adopted[slot.partition] = until
        log.info(
            "partition_taken",
            projection=slot.name,
            partition=slot.partition,
            position=found[slot.partition].position,
        )

    @staticmethod
    def _fits(view: RowView[Any], built: Sequence[Checkpoint]) -> bool:
        return built[0].version == view.version and len(built) == view.partitions

    def _announce(self, view: RowView[Any], built: Sequence[Checkpoint]) -> None:
        """Rows of another version stay as they are, and say so, until somebody rebuilds them.

        Only what nobody holds is spoken for: a projector of that version may be at work.
        """
        remedy = f"version {view.version} waits for: mindstream projections rebuild {view.name}"
        for each in built:
            slot = Slot(view.name, each.partition, len(built))
            if not self._leases.take(slot):
                continue
            if each.error != remedy:
                log.error("projection_version_changed", projection=view.name, built=each.version)
            values = ("stopped", self._owner, remedy, view.name, [each.partition])
            self._connection.execute(checkpoints.BEAT, values)
            self._leases.give(slot)
