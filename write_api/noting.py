"""What operators ask for, noted for the audit log before it is accepted.

Owns how an operation of theirs reads in the log. So it is known who asked even where accepting it
failed half-way; that nothing came of it shows in the operations.
"""

from __future__ import annotations

from typing import Any

from commands.ops import NoteAction, note_action
from commands.ports import Context, EventStore
from domain.operation import (
    DISCARD,
    PAUSE,
    PAUSE_REACTION,
    RESUME,
    RESUME_REACTION,
    RETRY,
    NewOperation,
)

_BECOMES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    PAUSE: ({"paused": False}, {"paused": True}),
    RESUME: ({"paused": True}, {"paused": False}),
    PAUSE_REACTION: ({"paused": False}, {"paused": True}),
    RESUME_REACTION: ({"paused": True}, {"paused": False}),
    RETRY: ({"state": "parked"}, {"state": "retrying"}),
    DISCARD: ({"state": "parked"}, {"state": "discarded"}),
}
_NAMES = ("id", "item_id", "projection", "reaction", "stream_id")
"""Of what is asked the part that says to what it is done, the narrowest first."""


async def note(
    store: EventStore,
    context: Context,
    new: NewOperation,
    *,
    address: str | None = None,
    agent: str | None = None,
) -> None:
    """Note this operation of the context's user.

    Raises:
        CommitError, psycopg.Error: it could not be noted, and must not be done.
    """
    await note_action(_action(new, address, agent), context, store)


def _action(new: NewOperation, address: str | None, agent: str | None) -> NoteAction:
    params = new.params or {}
    named = [str(params[name]) for name in _NAMES if params.get(name) is not None]
    before, after = _BECOMES.get(new.kind, (None, params.get("options") or None))
    if params.get("error") is not None:
        after = {**(after or {}), "error": params["error"]}
    return NoteAction(
        id=new.id,
        action=new.kind,
        target=named[0] if named else new.kind.partition(".")[0],
        operation_id=new.id,
        reason=params.get("reason"),
        before=before,
        after=after,
        address=address,
        agent=agent,
    )
