"""Reads that include a write: wait for the projections that a read needs.

Owns the one way in which every GET of a read model honours ``Consistency-Token`` and learns the
position that it answers with.
"""

from __future__ import annotations

from adapters.http.context import HasScope
from adapters.http.fresh import position_of, wait_seconds
from adapters.http.problems import Problem, retry_after
from projections.reading import Freshness


async def fresh(request: HasScope, freshness: Freshness, *projections: str) -> int:
    """Wait until these projections include what the request's token stands for.

    Returns the position that all of them have passed, to be answered as the read's own token.
    Call it before reading, so that the rows include at least that much.

    Raises:
        Problem: 400 for a token that is not ours, 503 ``READ_MODEL_BEHIND`` after the wait.
    """
    asked = position_of(request)
    position = freshness.position(*projections)
    if asked is None or position >= asked:
        return position
    behind = await freshness.passed(asked, *projections, within=wait_seconds(request))
    if behind is not None:
        lag = max(asked - freshness.position(behind), 1)
        raise Problem(
            "READ_MODEL_BEHIND",
            f"{behind} is {lag} events behind what was asked for.",
            extra={"projection": behind, "lag": lag},
            headers=retry_after(1),
        )
    return freshness.position(*projections)
