"""What operators ask for of reactions: to wait, and to go on.

Owns the two calls. Each is a change of a row and done at once, so that its operation has ended when
it is answered.
"""

from __future__ import annotations

from typing import Protocol

from litestar.handlers import HTTPRouteHandler

from adapters.http.context import require
from adapters.http.handlers import post
from adapters.http.problems import Problem
from adapters.http.responses import Answer
from domain.operation import PAUSE_REACTION, RESUME_REACTION, NewOperation, Operation
from write_api.ops_desk import PERMISSION, AnyRequest, Desk, Nothing, decoded, described


class ReactionCare(Protocol):
    """Has reactions wait and go on; ``adapters.oversight.PostgresCare`` does."""

    async def knows_reaction(self, name: str) -> bool:
        """Whether there is such a reaction."""
        ...

    async def pause_reaction(self, new: NewOperation, name: str, paused: bool) -> Operation:
        """Have a reaction wait, or go on; the operation, which has ended."""
        ...


def reaction_routes(desk: Desk, care: ReactionCare) -> list[HTTPRouteHandler]:
    """The handlers."""

    def verb(
        path: str, kind: str, paused: bool, summary: str, description: str
    ) -> HTTPRouteHandler:
        @post(
            f"/v1/ops/reactions/{{name:str}}/{path}",
            opt=described(
                summary, f"{path}_reaction", description=description, problems=("NOT_FOUND",)
            ),
        )
        async def handle(request: AnyRequest) -> Answer:
            require(request, PERMISSION)
            name: str = request.path_params["name"]
            if not await care.knows_reaction(name):
                raise Problem("NOT_FOUND")
            body = await request.body()
            decoded(request, body, Nothing)
            return await desk.do(
                request,
                kind,
                {"reaction": name},
                body,
                lambda new: care.pause_reaction(new, name, paused),
            )

        return handle

    return [
        verb(
            "pause",
            PAUSE_REACTION,
            True,
            "Pause a reaction",
            "What happens meanwhile is done when it is resumed.",
        ),
        verb(
            "resume",
            RESUME_REACTION,
            False,
            "Resume a reaction",
            "It goes on where it stopped.",
        ),
    ]
