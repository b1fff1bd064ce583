"""What rebuilds took, from which the next ones are foretold.

Owns the table ``projection_measures``: one row for each projection, of the last rebuild that it had
to itself and that was long enough to tell something.
"""

from __future__ import annotations

from typing import Any

import msgspec

from projections.engine.checkpoints import Connection

WORTH_KEEPING = 10_000
"""Events below which starting weighs more than folding."""
USUAL_SPEED = 40_000.0
"""Events a second that a rebuild is expected to fold where nothing has been measured yet."""
USUAL_FINISHING = 4e-6
"""Seconds for each event, then, until the rows are indexed, compared and in their turn."""

READ = """
SELECT name, events, folding_seconds, finishing_seconds FROM projection_measures
"""
KEEP = """
INSERT INTO projection_measures (name, events, folding_seconds, finishing_seconds)
VALUES (%(name)s, %(events)s, %(folding)s, %(finishing)s)
ON CONFLICT (name) DO UPDATE SET events = excluded.events, measured_at = now(),
    folding_seconds = excluded.folding_seconds, finishing_seconds = excluded.finishing_seconds
"""


class Measure(msgspec.Struct, frozen=True):
    """How long a rebuild of so many events took, in its two phases."""

    name: str = ""
    events: int = 1
    folding_seconds: float = 1 / USUAL_SPEED
    finishing_seconds: float = USUAL_FINISHING

    def folding(self, events: int) -> float:
        """Seconds that folding so many events is expected to take."""
        return events * self.folding_seconds / self.events

    def finishing(self, events: int) -> float:
        """Seconds that all that comes after it is expected to take."""
        return events * self.finishing_seconds / self.events

    def seconds(self, events: int) -> float:
        """Seconds that a rebuild of so many events is expected to take."""
        return self.folding(events) + self.finishing(events)

    def foretold(self, events: int) -> float:
        """The same as people are told it before they ask for it."""
        return round(max(self.seconds(events), 0.1), 1)


USUAL = Measure()
"""What is expected where nothing has been measured."""


def read(connection: Connection) -> dict[str, Measure]:
    """What has been measured, by the projection's name."""
    return {row[0]: Measure(*row) for row in connection.execute(READ)}


def keep(connection: Connection, name: str, events: int, folding: float, finishing: float) -> None:
    """Keep what a rebuild took, unless it was too short to tell."""
    if events < WORTH_KEEPING:
        return
    values: dict[str, Any] = {
        "name": name,
        "events": events,
        "folding": folding,
        "finishing": finishing,
    }
    connection.execute(KEEP, values)
