"""What moves by the second, for every console that is open: ``GET /v1/ops/console/stream``.

Owns one look a second in this process, shared by all who listen, and none while nobody does; what
of it is told, written down as the parts write it; and when a listener is told no more. The parts
themselves are asked for as before: ``shape`` says when they would look different.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.context import context_of, header, require
from adapters.http.doors import rule_of
from adapters.http.handlers import get
from adapters.http.operation import OPT, Operation
from adapters.http.passes import Pass
from adapters.http.problems import Problem, invalid, retry_after
from adapters.http.responses import Answer
from adapters.http.sse import HEADERS, MEDIA_TYPE, EventStream
from adapters.http.validation import query
from domain.faults import Fault
from projections.engine.telemetry import ProjectionStatus
from projections.following import Credentials, Ended, Reason, TooMany
from projections.oversight import Oversight, Pulse
from read_api.console.pages import PARTS, TAGS
from read_api.console.trends import Trends
from read_api.console.writing import number, progress, seconds

log = structlog.get_logger()

STREAM = PARTS + "stream"
PERMISSION = "ops:read"
EVERY = 1.0
"""Seconds between two looks, and between looks at everybody's credentials."""
PATIENCE = 5.0
"""Seconds for a look."""
SILENCE = 5.0
"""Seconds after which a stream says at least that it is there."""
FAREWELL = 1.0
"""Seconds that listeners have to be told that the process stops."""
MOST, MOST_OF_ONE = 500, 20
"""Listeners of a process, and of one principal."""


class Beat(msgspec.Struct, frozen=True):
    """What is told: texts and shares by the places where they stand on the pages.

    ``shape`` is another one as soon as a part would show more than other texts.
    """

    position: int
    shape: str
    values: dict[str, str | float]


_BEAT = Beat(
    1042,
    "5f0c2a9e81d3b764",
    {"head": "1,042", "journal.entries/gap": "3", "journal.entries/progress": 0.25},
)


def frame(beat: Beat) -> bytes:
    """One event of the stream."""
    return b"id: %d\nevent: beat\ndata: %b\n\n" % (beat.position, msgspec.json.encode(beat))


class Listener:
    """One console that is open; only the newest beat waits for it."""

    def __init__(
        self, who: str, credentials: Credentials, left: Callable[[Listener], None]
    ) -> None:
        self.who = who
        self.credentials = credentials
        self.position = 0
        self._left = left
        self._waiting: Beat | None = None
        self._told: Beat | None = None
        self._reason: Reason | None = None
        self._said = asyncio.Event()

    def push(self, beat: Beat) -> None:
        """Tell it, unless that is what it was told last."""
        self._waiting = None if beat == self._told else beat
        if self._waiting is not None:
            self._said.set()

    async def next(self, within: float) -> list[Beat]:
        """The newest beat; none if nothing moved for so long.

        Raises:
            Ended: that was all.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._said.wait()
        if self._reason is not None:
            raise Ended(self._reason)
        self._said.clear()
        beat, self._waiting = self._waiting, None
        if beat is None:
            return []
        self._told, self.position = beat, beat.position
        return [beat]

    def end(self, reason: Reason) -> None:
        """Tell nothing more; the first reason counts."""
        self._reason = self._reason or reason
        self._said.set()

    def close(self) -> None:
        """The connection is closed."""
        self.end("gone")
        self._left(self)


class Beats:
    """Looks while somebody listens. ``trends`` gets a sample from each look."""

    def __init__(self, oversight: Oversight, every: float = EVERY) -> None:
        self.trends = Trends()
        self._oversight = oversight
        self._every = every
        self._listeners: set[Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._last: Beat | None = None
        self._closing = False
        self._gone = asyncio.Event()

    def listen(self, who: str, credentials: Credentials) -> Listener:
        """Begin to tell somebody: what is, at once, and then what changes.

        Raises:
            TooMany: ``who`` listens too often already, or too many do.
            Ended: the process is about to stop.
        """
        if self._closing:
            raise Ended("closing")
        if sum(each.who == who for each in self._listeners) >= MOST_OF_ONE:
            raise TooMany(MOST_OF_ONE)
        if len(self._listeners) >= MOST:
            raise TooMany(MOST)
        listener = Listener(who, credentials, self._left)
        self._listeners.add(listener)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        elif self._last is not None:
            listener.push(self._last)
        return listener

    def _left(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._gone.set()
        if not self._listeners and self._looking is not None:
            self._looking.cancel()
            self._looking = self._last = None

    async def wind_down(self) -> None:
        """End every stream, and wait a little until the listeners have been told."""
        self._closing = True
        for each in self._listeners:
            each.end("closing")
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self._listeners:
                    self._gone.clear()
                    await self._gone.wait()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(PATIENCE):
                    pulse = await self._oversight.pulse()
                head = max((each.head for each in pulse.projections), default=0)
                self.trends.note(head, ((each.name, each.gap_events) for each in pulse.projections))
                self._last = beat_of(pulse, self.trends.events_per_second())
                for each in self._listeners:
                    each.push(self._last)
                await self._check()
            except Exception as error:  # noqa: BLE001 - whatever it is: they ask for parts instead
                log.warning("console_not_looked", reason=type(error).__name__)
                self._last = None
                for each in self._listeners:
                    each.end("unavailable")
            await asyncio.sleep(max(self._every - (loop.time() - began), self._every / 10))

    async def _check(self) -> None:
        """End the streams of those whose credentials are good no more."""
        for each in [each for each in self._listeners if not each.credentials.good()]:
            reason: Reason | None = None
            try:
                reason = await each.credentials.check()
            except Exception as error:  # noqa: BLE001 - it must not end what others are told
                log.warning("console_credentials_unknown", reason=type(error).__name__)
            if reason is not None:
                each.end(reason)


def beat_of(pulse: Pulse, rate: float | None) -> Beat:
    """What is told of a look."""
    head = max((each.head for each in pulse.projections), default=0)
    values: dict[str, str | float] = {"head": number(head), "rate": number(rate)}
    for each in pulse.projections:
        values.update(_of(each))
    farthest = max(pulse.projections, key=lambda each: each.gap_events, default=None)
    if farthest is not None:
        values["farthest"] = number(farthest.gap_events)
        values["farthest/name"] = farthest.name if farthest.gap_events else "all have caught up"
    parked, retrying = (pulse.quarantine.get(each, 0) for each in ("parked", "retrying"))
    values["quarantine"] = number(parked + retrying)
    values["quarantine/said"] = f"{parked} parked, {retrying} retried"
    values["operations/said"] = operations_said(pulse.operations)
    for one in pulse.running:
        values[f"{one.id}/progress"] = one.progress
        values[f"{one.id}/said"] = progress(one.progress, None, one.eta_seconds)
    shape = [
        [_shape(each) for each in pulse.projections],
        sorted(pulse.quarantine.items()),
        sorted(pulse.operations.items()),
        sorted(str(one.id) for one in pulse.running),
    ]
    return Beat(head, hashlib.sha256(msgspec.json.encode(shape)).hexdigest()[:16], values)


def operations_said(counts: dict[str, int]) -> str:
    """How many operations are under way."""
    return f"{counts.get('running', 0)} at work, {counts.get('pending', 0)} waiting"


def _of(status: ProjectionStatus) -> dict[str, str | float]:
    values: dict[str, str | float] = {
        "position": number(status.position),
        "head": number(status.head),
        "gap": number(status.gap_events),
        "behind": seconds(status.gap_seconds) if status.gap_events else "",
        "speed": number(status.events_per_second),
        **{f"part-{each.index}": number(each.position) for each in status.partitions},
    }
    rebuild = status.rebuild
    if rebuild is not None:
        values["progress"] = rebuild.get("progress") or 0
        values["progress/said"] = progress(
            rebuild.get("progress"), rebuild.get("state"), rebuild.get("eta_seconds")
        )
        values["done"] = number(rebuild.get("events_done"))
    return {f"{status.name}/{place}": value for place, value in values.items()}


def _shape(status: ProjectionStatus) -> list[Any]:
    rebuild = None if status.rebuild is None else status.rebuild.get("state")
    return [
        *(status.name, status.status, status.version, status.generation, status.error, rebuild),
        status.quarantined_streams,
        [[each.owner, each.status] for each in status.partitions],
    ]


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stream has no parameters."""


_STREAM = Operation(
    internal=True,  # it never ends: no client of the contract may run into it
    summary="What moves by the second on the pages of the console",
    description="Server-sent events: what is, at once, and then whenever it changed, once a second"
    " at most. Nothing is told again that was missed. It ends when the credentials are good no"
    " more, when the database does not answer, and when the process stops.",
    tags=TAGS,
    response=Beat,
    response_example=_BEAT,
    response_media_type=MEDIA_TYPE,
    enveloped=False,
    query=NoQuery,
    headers=(
        ("Last-Event-ID", "The id of the last event; the stream begins with what is.", False),
    ),
    problems=("TOO_MANY_STREAMS", "VALIDATION_FAILED"),
    permission=PERMISSION,
    keys=False,
    operation_id="console_stream",
)


def handler(beats: Beats, *, comment_every: float) -> HTTPRouteHandler:
    """The handler; a comment is sent after that many seconds of silence, or sooner."""

    @get(STREAM, opt={OPT: _STREAM})
    async def stream(request: Request[Any, Any, Any]) -> Answer:
        principal = require(request, PERMISSION)
        query(request, NoQuery)
        last = (header(request, b"last-event-id") or "").strip()
        if last and not (last.isascii() and last.isdigit()):
            raise invalid(Fault("Last-Event-ID", "invalid_format", "This must be an event's id."))
        context = context_of(request)
        if context.head:
            return Answer(200, list(HEADERS))
        try:
            listener = beats.listen(principal.actor, Pass(context, rule_of(STREAM, _STREAM)))
        except TooMany as error:
            raise Problem(
                "TOO_MANY_STREAMS",
                f"{error.most} streams are open already.",
                headers=retry_after(5),
            ) from None
        except Ended:
            raise Problem("UNAVAILABLE", headers=retry_after(1)) from None
        return EventStream(listener, min(comment_every, SILENCE), frame)

    return stream
