"""What operators ask for of projections: rebuild, pause, resume, verify, roll back.

Owns the check of what is asked, all of its faults at once; a worker does it
(``workers/projections.py``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol

import msgspec
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import header, require
from adapters.http.handlers import post
from adapters.http.problems import Problem, invalid, register
from adapters.http.responses import Answer
from adapters.http.validation import check, decode_body
from domain.faults import Fault
from domain.operation import PAUSE, REBUILD, RESUME, ROLLBACK, VERIFY
from write_api.ops_desk import PERMISSION, AnyRequest, Desk, Nothing, Text, decoded, described

_PROJECTIONS = "/v1/ops/projections/{name:str}"

register(
    "RANGE_NOT_SUPPORTED",
    422,
    "This projection cannot be rebuilt for a range of time",
    "Its rows are not of one stream each, so that none belongs to a time. Rebuild the whole of it,"
    " or one key.",
)


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Rebuildable(Protocol):
    """A projection that can be rebuilt; ``bootstrap.engine.Rebuildable`` is one."""

    @property
    def ranged(self) -> bool:
        """Whether a range of time can be rebuilt."""

    @property
    def key(self) -> str:
        """The columns that a key is made of, with ``/`` between them."""

    def takes(self, key: str) -> bool:
        """Whether the text is a key of its rows, whether or not there is such a row."""


class RebuildRequest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"from_": "from"},
    omit_defaults=True,
):
    """What a rebuild takes, all of it optional.

    ``key`` or a range (``from`` inclusive, ``to`` exclusive, recorded times) repairs the live
    generation. ``max_lag_seconds`` is how far live projections may fall behind meanwhile.
    """

    partitions: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    from_: Moment | None = None
    to: Moment | None = None
    key: Text | None = None
    max_lag_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    accept_differences: bool = False


_VERBS = {
    "pause": (
        PAUSE,
        "Pause a projection",
        "While it is being rebuilt, this pauses the rebuild, and the live generation goes on.",
    ),
    "resume": (
        RESUME,
        "Resume a projection",
        "While it is being rebuilt, this resumes the rebuild.",
    ),
    "verify": (
        VERIFY,
        "Compare a projection with its events",
        (
            "Nothing is touched. The operation succeeds with `equal: false` and the differences"
            " where there are some."
        ),
    ),
    "rollback": (
        ROLLBACK,
        "Serve the generation before",
        (
            "The one that a swap has kept catches up with every write since, and is served; a"
            " second rollback goes forward again."
        ),
    ),
}


def projection_routes(desk: Desk, projections: Mapping[str, Rebuildable]) -> list[HTTPRouteHandler]:
    """The handlers."""

    def known(request: AnyRequest) -> str:
        require(request, PERMISSION)
        name: str = request.path_params["name"]
        if name not in projections:
            raise Problem("NOT_FOUND")
        return name

    @post(
        f"{_PROJECTIONS}/rebuild",
        opt=described(
            "Rebuild a projection",
            "rebuild_projection",
            description="A new generation grows beside the live one, is compared with it, and"
            " takes its place at once. One that differs is swapped in only with"
            " `accept_differences`. A key or a range repairs the live generation.",
            body=RebuildRequest,
            example={"max_lag_seconds": 1.0},
            problems=("NOT_FOUND", "RANGE_NOT_SUPPORTED"),
        ),
    )
    async def rebuild(request: AnyRequest) -> Answer:
        name = known(request)
        body = await request.body()
        plain = _plain(request, body)
        params = {"projection": name, "options": options_of(plain, projections[name])}
        return await desk.accept(request, REBUILD, params, body)

    def verb(path: str, kind: str, summary: str, description: str) -> HTTPRouteHandler:
        @post(
            f"{_PROJECTIONS}/{path}",
            opt=described(
                summary, f"{path}_projection", description=description, problems=("NOT_FOUND",)
            ),
        )
        async def handle(request: AnyRequest) -> Answer:
            name = known(request)
            body = await request.body()
            decoded(request, body, Nothing)
            return await desk.accept(request, kind, {"projection": name}, body)

        return handle

    return [rebuild, *(verb(path, *about) for path, about in _VERBS.items())]


def options_of(plain: object, projection: Rebuildable) -> dict[str, Any]:
    """What is asked for in plain values, as the operation keeps it.

    Raises:
        Problem: 422 with every fault, or because the projection cannot do a range.
    """
    faults: list[Fault] = []
    options: dict[str, Any] = {}
    try:
        options = msgspec.to_builtins(check(plain, RebuildRequest))
    except Problem as problem:
        if problem.code != "VALIDATION_FAILED":
            raise
        faults += problem.errors
    fields = plain if isinstance(plain, Mapping) else {}
    named = {fault.field for fault in faults}
    faults += [fault for fault in _rules(fields, projection) if fault.field not in named]
    if faults:
        raise invalid(*faults)
    if not projection.ranged and ("from" in options or "to" in options):
        raise Problem("RANGE_NOT_SUPPORTED")
    return options


def _rules(fields: Mapping[str, Any], projection: Rebuildable) -> Iterator[Fault]:
    """What no single field's type can say; values of a wrong type are another's to refuse."""
    key, most = fields.get("key"), fields.get("max_lag_seconds")
    from_, to = _moment(fields.get("from")), _moment(fields.get("to"))
    if key is not None and (fields.get("from") is not None or fields.get("to") is not None):
        yield Fault("key", "not_allowed", "Give a key or a range, not both.")
    elif isinstance(key, str) and not projection.takes(key):
        yield Fault("key", "invalid_format", f"This must be {projection.key} of a row.")
    if from_ is not None and to is not None and to <= from_:
        yield Fault("to", "too_small", "This must be after from.")
    if isinstance(most, float) and not math.isfinite(most):
        yield Fault("max_lag_seconds", "invalid_format", "This must be a number.")


def _moment(value: object) -> datetime | None:
    try:
        return msgspec.convert(value, Moment)
    except msgspec.ValidationError:
        return None


def _plain(request: AnyRequest, body: bytes) -> object:
    """The body's plain values; one that is left out asks for nothing in particular."""
    if not body:
        return {}
    try:
        decode_body(body, header(request, b"content-type"), RebuildRequest)
    except Problem as problem:
        if problem.code != "VALIDATION_FAILED":
            raise
    return json.loads(body)
