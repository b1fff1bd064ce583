"""What an aggregate will be: events that were decided, folded before they are appended.

Handlers answer with it, so that nothing is read back.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.ports import A, Context
from domain.event import Event, Recorded


def fold_ahead(
    aggregate: type[A], state: A | None, events: Sequence[Event], stream: str, context: Context
) -> A:
    """The state as the events will make it; there is one at least, or a state already."""
    version = 0 if state is None else state.version
    for event in events:
        version += 1
        state = aggregate.evolve(
            state,
            Recorded(
                position=0,
                stream_id=stream,
                stream_version=version,
                tenant_id=context.tenant_id,
                recorded_at=context.now,
                event=event,
            ),
        )
    assert state is not None
    return state
