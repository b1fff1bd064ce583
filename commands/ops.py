"""What operators did, noted for the audit log.

Owns one command. What an action does is not its handler's: whoever does it notes it first, so that
nothing is done that the log does not know of.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from commands.bus import Outcome, handles
from commands.ports import Append, Context, EventStore
from domain.ops.events import ActionTaken


class NoteAction(msgspec.Struct, frozen=True, kw_only=True):
    """Note that the context's user is about to do this; ``id`` names it, once.

    The other fields are ``domain.ops.events.ActionTaken``'s.
    """

    id: UUID
    action: str
    target: str
    operation_id: UUID | None = None
    reason: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    address: str | None = None
    agent: str | None = None


@handles(NoteAction)
async def note_action(command: NoteAction, context: Context, store: EventStore) -> Outcome[None]:
    """Append it to a stream of its own."""
    event = ActionTaken(
        user_id=context.user_id,
        action=command.action,
        target=command.target,
        operation_id=command.operation_id,
        reason=command.reason,
        before=command.before,
        after=command.after,
        address=command.address,
        agent=command.agent,
    )
    # The answer to a retry is the action's own: this is a step on the way to it.
    context = msgspec.structs.replace(context, idempotency=None)
    committed = await store.append(context, Append(f"ops.action-{command.id}", 0, (event,)))
    return Outcome(None, committed.position)
