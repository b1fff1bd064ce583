"""What the console makes of what it looks at: numbers, times, lines, differences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from projections.ops.audit import Requested
from projections.oversight import EventShown
from read_api.console.lists import Change, differences
from read_api.console.parts import traffic
from read_api.console.trends import KEPT, Trends
from read_api.console.writing import FILES, ago, link, number, plain, seconds, spark

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SEALED = {"sealed": True}


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0, "0"), (1234567, "1,234,567"), (0.25, "0.2"), (3.0, "3"), (123.4, "123")],
)
def test_numbers(value: float | None, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (0, "0 s"), (0.44, "0.4 s"), (42.0, "42 s"), (180, "3 min"), (7200, "2 h")],
)
def test_lengths_of_time(value: float | None, said: str) -> None:
    assert seconds(value) == said


@pytest.mark.parametrize(
    ("passed", "said"),
    [(0.2, "now"), (3, "3 s ago"), (90, "2 min ago"), (86_400, "1 d ago"), (864_000, "2025-12-23")],
)
def test_how_long_ago(passed: float, said: str) -> None:
    assert ago(NOW - timedelta(seconds=passed), NOW) == said


def test_a_line_stays_within_its_picture() -> None:
    assert spark([(0, 1)]) == ""
    drawn = spark([(10, 0), (15, 5), (20, 10)], 100, 20)
    assert 'class="line" points="0.0,18.0 50.0,10.5 100.0,3.0"' in drawn
    assert "points" in spark([(1, 0), (1, 0)])  # nothing moved, and no time passed


def test_assets_are_named_by_their_content() -> None:
    assert all(asset.path.count(".") == 2 for asset in FILES.values())
    assert {asset.media_type.partition(";")[0] for asset in FILES.values()} == {
        "text/css", "text/javascript",
    }  # fmt: skip


def test_links_and_values() -> None:
    assert link({"a": None, "b": "x y", "c": 0}) == "b=x+y&c=0"
    assert [plain(each) for each in ("x", SEALED, [1], None)] == ["x", "hidden", "[1]", "null"]


def shown(version: int, **data: Any) -> EventShown:
    return EventShown(
        version, "s", version, "x.Y.v1", UUID(int=1), NOW, "user:1", "req_1", None, data
    )


def test_differences_of_a_stream() -> None:
    found = differences([shown(1, a=1, b=SEALED), shown(2, a=1), shown(3, a=2, b=SEALED, c=None)])
    assert found == [
        [Change("a", None, 1), Change("b", None, SEALED)],
        [],
        [Change("a", 1, 2), Change("b", SEALED, SEALED), Change("c", None, None)],
    ]


def asked(route: str, ms: float, status: int = 200) -> Requested:
    return Requested(
        1, NOW, "read-api", "req_1", "GET", route, status, ms, None, None, None, None, None
    )


def test_traffic_is_what_clients_met_with() -> None:
    requests = [asked("/v1/me", ms) for ms in range(1, 21)]
    requests += [asked("/v1/stream", 60_000), asked("/v1/ops/console/overview", 900)]
    found = traffic([*requests, asked("/v1/me", 30, 503)])
    assert (found.requests, found.p50, found.p95, found.failed) == (21, 11, 20, 1)
    nothing = traffic([])
    assert (nothing.requests, nothing.p95) == (0, None)


def test_trends_keep_some_minutes() -> None:
    clock = [0.0]
    trends = Trends(lambda: clock[0])
    assert trends.events_per_second() is None
    for now, head in ((0.0, 0), (0.5, 900), (10.0, 100), (20.0, 300)):
        clock[0] = now
        trends.note(head, [("a", head // 10)])
    assert trends.gaps("a") == [(0.0, 0), (10.0, 10), (20.0, 30)]
    assert trends.gaps("b") == []
    assert trends.rates() == [(10.0, 10.0), (20.0, 20.0)]
    assert trends.events_per_second() == 15.0
    clock[0] = 200.0
    trends.note(300, [])
    assert trends.events_per_second() == 0.0  # nothing in the last minute
    clock[0] = 200.0 + KEPT
    trends.note(300, [])
    assert len(trends.rates()) == 1
