"""``projections list|show``: how far the read models are."""

from __future__ import annotations

from bootstrap import cli
from bootstrap.cli.projections.waiting import Name, known, statuses


def list_(json: cli.Json = False) -> None:
    """Show every projection in a line."""
    found = statuses(cli.settings(servers=True))
    if json:
        cli.print_json(found)
        return
    cli.print_table(
        ("NAME", "STATUS", "POSITION", "HEAD", "GAP", "SECONDS", "EVENTS/S", "GENERATION"),
        [
            (
                each.name,
                each.status,
                each.position,
                each.head,
                each.gap_events,
                each.gap_seconds,
                each.events_per_second,
                each.generation,
            )
            for each in found
        ],
        drop=("HEAD", "EVENTS/S", "GENERATION"),
    )


def show(name: Name, json: cli.Json = False) -> None:
    """Show all that is known of one projection."""
    import msgspec

    known(name)
    [status] = (each for each in statuses(cli.settings(servers=True)) if each.name == name)
    if json:
        cli.print_json(status)
        return
    for field, value in msgspec.to_builtins(status).items():
        if field not in ("partitions", "blocked_by") and value is not None:
            cli.out.print(f"{field:20} {value}", markup=False)
    for blocker in status.blocked_by or ():
        words = (
            f"{'blocked_by':20} pid {blocker['pid']} since {blocker['since']}: {blocker['query']}"
        )
        cli.out.print(words, markup=False)
    cli.out.print()
    cli.print_table(
        ("PARTITION", "STATUS", "POSITION", "OWNER"),
        [(one.index, one.status, one.position, one.owner) for one in status.partitions],
    )
