"""What lies in the database and waits: projections, reactions, quarantine, generations, operations.

Owns the judgement of what an operator should look at; the statuses themselves are the engine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from bootstrap.examination.finding import Finding, failed, ok, warning
from bootstrap.operators import desk
from bootstrap.settings import Settings
from domain.operation import ANSWERS
from domain.reaction import ReactionStatus
from projections.engine.telemetry import ProjectionStatus

BEHIND_SECONDS = 60.0
KEPT_DAYS = 7
PENDING_SECONDS = 60.0
RUNNING_SECONDS = 3600.0

_KEPT = """
SELECT name, generation, pg_total_relation_size(to_regclass(quote_ident(table_name)))
FROM projection_generations
WHERE state = 'kept' AND changed_at < now() - make_interval(days => %s)
ORDER BY 3 DESC NULLS LAST
"""
_GROWING = """
SELECT name, generation FROM projection_generations
WHERE state = 'building' AND changed_at < now() - interval '1 minute'
"""
_OPERATIONS = """
SELECT id::text, kind, params ->> 'projection', state,
       extract(epoch FROM now() - coalesce(started_at, created_at))::float8,
       lease_until IS NULL OR lease_until < now()
FROM operations WHERE state IN ('pending', 'running') ORDER BY created_at
"""
_FAILED = """
SELECT kind, error ->> 'code', error ->> 'message', count(*) OVER ()
FROM operations
WHERE state = 'failed' AND created_at >= now() - interval '1 day' AND error ->> 'code' <> ALL (%s)
ORDER BY created_at DESC LIMIT 1
"""
_QUARANTINE = """
SELECT projection, count(DISTINCT stream_id), min(error), min(first_failed_at)::date
FROM projection_quarantine WHERE NOT settled GROUP BY projection ORDER BY 2 DESC, 1
"""


class Waiting(msgspec.Struct, frozen=True):
    """An operation that has not ended; ``stranded``: no worker says that it has it."""

    id: str
    kind: str
    projection: str | None
    state: str
    seconds: float
    stranded: bool


def engine(settings: Settings) -> Iterator[Finding]:
    """Everything that waits for a process of ours, or for an operator."""
    try:
        statuses, reactions = asyncio.run(_asked(settings))
        yield from projections(statuses)
        yield from reacting(reactions)
        with psycopg.connect(settings.write_dsn or "", connect_timeout=5) as connection:
            waiting = [Waiting(*row) for row in connection.execute(_OPERATIONS)]
            ill = connection.execute(_FAILED, (sorted(ANSWERS),)).fetchone()
        worked_on = {each.projection for each in waiting}
        for dsn in _databases(settings):
            with psycopg.connect(dsn, connect_timeout=5) as connection:
                yield from _lying(connection, worked_on)
        yield from operations(waiting)
        if ill is not None:
            yield failed_lately(*ill)
    except psycopg.Error as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield failed("engine", f"it cannot be asked: {said}", "are all migrations applied?")


def _databases(settings: Settings) -> list[str]:
    given = (settings.write_dsn, settings.timeseries_dsn)
    return [dsn for dsn in given if dsn is not None]


async def _asked(
    settings: Settings,
) -> tuple[Sequence[ProjectionStatus], Sequence[ReactionStatus]]:
    async with desk(settings) as opened:
        return await opened.oversight.projections(), await opened.oversight.reactions()


def projections(statuses: Sequence[ProjectionStatus]) -> Iterator[Finding]:
    """Whether each is worked on, moves, and is near the head."""
    begun = [each for each in statuses if each.partitions]
    if statuses and not any(_worked_on(each) for each in statuses):
        detail = "no projector works: what is written shows in no answer"
        if not begun:
            detail = "no projector has ever worked here"
        remedy = "start one: `mindstream run projector`; HOME/log/projector.log says why it ended"
        yield failed("projections", detail, remedy)
        return
    well = True
    for each in statuses:
        finding = projection(each)
        if finding is not None:
            well = False
            yield finding
    if well:
        yield ok("projections", f"{len(statuses)} keep up")


def _worked_on(status: ProjectionStatus) -> bool:
    return any(each.status not in ("stopped", "paused") for each in status.partitions)


def projection(status: ProjectionStatus) -> Finding | None:
    """What is to be said of one projection, None where all is well."""
    check = f"projection {status.name}"
    behind = f"{status.gap_events} events behind"
    if status.status == "paused":
        remedy = f"`mindstream projections resume {status.name}`"
        return warning(check, f"paused, {behind}", remedy)
    if status.status == "stalled":
        if status.blocked_by:
            one = status.blocked_by[0]
            what = (one["query"] or "")[:80]
            detail = f"stalled, {behind}: session {one['pid']} holds a lock it needs ({what})"
            return failed(
                check, detail, f"end that session: SELECT pg_terminate_backend({one['pid']})"
            )
        why = f": {status.error}" if status.error else ""
        remedy = "the projector's log says more; `mindstream projections show` names its owner"
        return failed(check, f"stalled, {behind}{why}", remedy)
    if status.status == "stopped":
        why = f": {status.error}" if status.error else ": nobody works on it"
        remedy = (
            "after a change of its version: `mindstream projections rebuild " + status.name + "`"
        )
        return failed(check, f"stopped, {behind}{why}", remedy)
    if status.gap_seconds > BEHIND_SECONDS and status.status == "catching_up":
        rate = f"{status.events_per_second:.0f} events/s"
        detail = f"{behind} ({status.gap_seconds:.0f} s), at {rate}"
        remedy = "wait; if it does not get less, raise MINDSTREAM_PROJECTORS"
        return warning(check, detail, remedy)
    return None


def reacting(reactions: Sequence[ReactionStatus]) -> Iterator[Finding]:
    """Whether what is done because of events is done."""
    well = True
    for each in reactions:
        check, behind = f"reaction {each.name}", f"{each.gap_events} events behind"
        if each.status == "paused":
            remedy = f"`mindstream reactions resume {each.name}`"
            yield warning(check, f"paused, {behind}", remedy)
        elif each.status == "stopped":
            yield failed(check, f"stopped, {behind}", "start a worker: `mindstream run worker`")
        elif each.status == "stalled":
            why = f": {each.error}" if each.error else ""
            remedy = "what it needs is away: the worker's log names it"
            yield failed(check, f"stalled, {behind}{why}", remedy)
        else:
            continue
        well = False
    if well:
        yield ok("reactions", f"{len(reactions)} keep up")


def _lying(
    connection: psycopg.Connection[Any], worked_on: Container[str | None]
) -> Iterator[Finding]:
    """Poisoned events, and generations that nobody needs any more."""
    for name, streams, error, since in connection.execute(_QUARANTINE):
        detail = (
            f"{streams} stream{'s' if streams > 1 else ''} of {name} wait since {since}: {error}"
        )
        remedy = f"`mindstream quarantine list --projection {name}`, then retry or discard"
        yield warning("quarantine", detail, remedy)
    kept = [
        f"{name} generation {generation} ({(size or 0) >> 20} MB)"
        for name, generation, size in connection.execute(_KEPT, (KEPT_DAYS,))
    ]
    if kept:
        detail = f"kept for a rollback for over {KEPT_DAYS} days: {', '.join(kept[:3])}"
        remedy = "the next rebuild of the same projection drops it"
        yield warning("generations", detail, remedy)
    for name, generation in connection.execute(_GROWING):
        if name in worked_on:
            continue
        detail = f"generation {generation} of {name} grows, and no rebuild does that"
        remedy = f"`mindstream projections rebuild {name}` begins anew and drops it"
        yield warning("generations", detail, remedy)


def failed_lately(kind: str, code: str, message: str, count: int) -> Finding:
    """What is to be said of ``count`` jobs that failed within a day; the rest is of the newest."""
    detail = f"{count} failed within a day, the newest is {kind} ({code}): {message}"
    return warning("failed operations", detail, "`mindstream jobs list --state failed`")


def operations(waiting: Sequence[Waiting]) -> Iterator[Finding]:
    """Whether workers take up what was accepted, and end it."""
    well = True
    pending = [each for each in waiting if each.state == "pending"]
    late = [each for each in pending if each.seconds > PENDING_SECONDS]
    if late:
        well = False
        detail = f"{len(late)} wait for a worker, the oldest for {late[0].seconds:.0f} s"
        busy = any(each.state == "running" and not each.stranded for each in waiting)
        if busy:
            yield warning("operations", detail, "wait, or raise MINDSTREAM_WORKERS: they are busy")
        else:
            remedy = "start a worker and a scheduler: `mindstream run worker`, `… run scheduler`"
            yield failed("operations", detail, remedy)
    for each in waiting:
        if each.state != "running":
            continue
        if each.stranded and each.seconds > PENDING_SECONDS:
            detail = f"{each.kind} {each.id}: its worker is gone"
            yield warning("operations", detail, "the scheduler offers it again: is one running?")
            well = False
        elif each.seconds > RUNNING_SECONDS:
            detail = f"{each.kind} {each.id} runs for {each.seconds / 3600:.1f} h"
            yield warning("operations", detail, f"`mindstream jobs show {each.id}`, or cancel it")
            well = False
    if well:
        yield ok("operations", f"{len(waiting)} under way")
