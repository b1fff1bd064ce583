"""Reads that include a write: wait for the projections that a read needs.

Owns the one way in which every GET of a read model honours ``Consistency-Token`` and learns the
position that it answers with.
"""

from __future__ import annotations

from adapters.http.context import HasScope, principal_of
from adapters.http.fresh import position_of, wait_seconds
from adapters.http.problems import Problem, retry_after
from projections.reading import Freshness


async def fresh(request: HasScope, freshness: Freshness, *projections: str) -> int:
    """Wait until these projections include what the request's token stands for.

    Returns the position that all of them have passed, to be answered as the read's own token.
    Call it before reading, so that the rows include at least that much.

    Raises:
        Problem: 400 for a token that is not ours, 503 ``READ_MODEL_BEHIND`` after the wait, or at
            once where the reader's own event waits in quarantine.
    """
    asked = position_of(request)
    position = freshness.position(*projections)
    if asked is None:
        return position
    if position < asked:
        await _wait(request, freshness, asked, projections)
    actor = principal_of(request).actor
    waits = await freshness.stuck(asked, actor, *projections)
    if waits is not None:
        projection, waits_for = waits
        raise _behind(projection, asked - waits_for + 1)
    return freshness.position(*projections)


async def _wait(
    request: HasScope, freshness: Freshness, asked: int, projections: tuple[str, ...]
) -> None:
    behind = await freshness.passed(asked, *projections, within=wait_seconds(request))
    if behind is not None:
        raise _behind(behind, max(asked - freshness.position(behind), 1))


def _behind(projection: str, lag: int) -> Problem:
    return Problem(
        "READ_MODEL_BEHIND",
        f"{projection} is {lag} events behind what was asked for.",
        extra={"projection": projection, "lag": lag},
        headers=retry_after(1),
    )
