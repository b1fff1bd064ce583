"""``events read|tail``: the event store as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bootstrap import cli

if TYPE_CHECKING:
    from adapters.event_store.recorder import Pool
    from adapters.event_store.subject_keys import SubjectKeys

events = typer.Typer(no_args_is_help=True, help="The event store, in its one order.")
Topic = Annotated[
    list[str] | None,
    typer.Option("--topic", help="Only this topic, in one version or all; may be repeated."),
]
_PAGE = 500
_PATIENCE = 5.0
"""Seconds until a database that does not answer is told so."""
_READ = """
SELECT position, stream_id, stream_version, topic, tenant_id, recorded_at, actor, correlation_id,
       causation_id, data
FROM events
WHERE position > %(after)s AND (%(before)s::bigint IS NULL OR position < %(before)s)
  AND (%(stream)s::text IS NULL OR stream_id = %(stream)s)
  AND (%(topics)s::text[] IS NULL OR topic = ANY (%(topics)s))
ORDER BY position LIMIT %(limit)s
"""


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    app.add_typer(events, name="events")


@events.command()
def read(
    after: Annotated[int, typer.Option(help="Only events after this position.")] = 0,
    before: Annotated[int | None, typer.Option(help="Only events before this position.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only events of this stream.")] = None,
    topic: Topic = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Show what people wrote.")
    ] = False,
    json: cli.Json = False,
) -> None:
    """Print events in the order of their positions. Personal fields are hidden unless asked for."""
    with _pool() as pool:
        keys = _keys() if show_personal else None
        topics = _versions(topic)
        found = list(_events(pool, after, before, stream, topics, limit, keys))
        there = found or stream is None or any(_events(pool, 0, None, stream, None, 1, None))
    if json:
        cli.print_json(found)
    else:
        _print(found)
    if not found:
        cli.err.print("no events" if there else f"no events: there is no stream {stream}")


@events.command()
def tail(
    after: Annotated[
        int | None, typer.Option(help="Begin after this position; else with the next event.")
    ] = None,
    topic: Topic = None,
    show_personal: Annotated[
        bool, typer.Option("--show-personal", help="Show what people wrote.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print events as they are appended, until Ctrl-C, which is how it ends: exit code 0."""
    import contextlib

    from adapters.event_store.recorder import PostgresRecorder

    with _pool() as pool, contextlib.suppress(KeyboardInterrupt):
        recorder = PostgresRecorder(pool)
        keys = _keys() if show_personal else None
        start = after if after is not None else (recorder.max_notification_id() or 0)
        topics = _versions(topic) or ()
        with recorder.subscribe(gt=start, topics=topics) as subscription:
            for notification in subscription:
                found = _events(pool, notification.id - 1, notification.id + 1, None, None, 1, keys)
                _print(found, lines=json)


def _versions(asked: list[str] | None) -> list[str] | None:
    """The topics that are asked for, each with its version; ends the program on an unknown one."""
    import bootstrap.views  # noqa: F401 - as below
    from domain.event import type_of, upcasters

    known = {*type_of, *upcasters}
    topics: list[str] = []
    for name in asked or ():
        meant = [each for each in known if name in (each, each.rpartition(".v")[0])]
        if not meant:
            cli.unknown("topic", name, known)
        topics += meant
    return sorted(topics) or None


def _pool() -> Pool:
    from adapters.event_store.recorder import open_pool

    settings = cli.settings(servers=True)
    pool = open_pool(settings.write_dsn or "", role="mindstream_write", size=3)
    try:
        pool.wait(_PATIENCE)
    except BaseException:
        pool.close()
        raise
    return pool


def _keys() -> SubjectKeys:
    """What opens the personal fields: the master key is needed for it."""
    from bootstrap.wiring.keys import subject_keys_of

    return subject_keys_of(cli.settings(servers=True))


def _events(
    pool: Pool,
    after: int,
    before: int | None,
    stream: str | None,
    topics: list[str] | None,
    limit: int,
    keys: SubjectKeys | None,
) -> Iterator[dict[str, Any]]:
    import bootstrap.views  # noqa: F401 - whatever has a view has its event types registered
    from adapters.event_store.mapper import shown, subjects_in

    names = (
        "position",
        "stream_id",
        "stream_version",
        "topic",
        "tenant_id",
        "recorded_at",
        "actor",
        "correlation_id",
        "causation_id",
        "data",
    )
    while limit > 0:
        with pool.connection() as connection:
            rows = connection.execute(
                _READ,
                {
                    "after": after,
                    "before": before,
                    "stream": stream,
                    "topics": topics or None,
                    "limit": min(limit, _PAGE),
                },
            ).fetchall()
            if keys is not None:
                keys.load_by(connection, subjects_in(row[9] for row in rows))
        for row in rows:
            event = dict(zip(names, row, strict=True))
            event["data"] = shown(
                event["topic"],
                event["stream_id"],
                event["stream_version"],
                event["data"],
                {} if keys is None else keys.ciphers,
                personal=keys is not None,
            )
            yield event
        if len(rows) < _PAGE:
            return
        after, limit = rows[-1][0], limit - len(rows)


def _print(found: Iterable[dict[str, Any]], *, lines: bool = False) -> None:
    import msgspec

    for event in found:
        if lines:
            sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        else:
            data = msgspec.json.encode(event["data"]).decode()
            sys.stdout.write(
                f"{event['position']:>9} {event['recorded_at']:%Y-%m-%dT%H:%M:%S.%fZ}"
                f" {event['topic']:32} {event['stream_id']} v{event['stream_version']} {data}\n"
            )
        sys.stdout.flush()
