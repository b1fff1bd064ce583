"""Every metric that an alert or a dashboard asks for is told by a running system."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.people import Person
from tests.support.upped import Up
from tests.support.waiting import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROMETHEUS_OWN = {"up", "ALERTS"}
THE_SEEDS = {
    "analysis_duration_seconds",
    "user_tier_distribution",
    "api_usage_by_endpoint",
    "http_requests_total",
    "http_request_duration_seconds",
    "database_connections_active",
    "cache_hit_ratio",
    "ai_inference_duration_seconds",
    "cpu_utilization_percent",
    "memory_utilization_percent",
    "disk_io_operations_total",
    "network_bytes_transmitted",
}
"""All of the seed's but those of sessions, which come with them, and of GPUs, which nobody has."""

_ENDINGS = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "unknown": ("",),
}


def page(up: Up) -> str:
    return httpx.get(f"{up.gateway}/metrics", timeout=10).raise_for_status().text


def told(text: str) -> set[str]:
    """The names of all samples that there are or can be."""
    return {
        family.name + ending
        for family in text_string_to_metric_families(text)
        for ending in _ENDINGS[family.type]
    }


def asked(expression: str) -> set[str]:
    """The metrics that a query names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return {word for word in words if word not in {"and", "or", "unless", "bool", "offset"}}


def queries() -> Iterator[tuple[str, str]]:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def test_a_query_is_read_as_prometheus_does() -> None:
    assert asked('sum by (le) (rate(a_total{b="c", d=~"e|f"}[5m])) / max(g) > 0.5') == {
        "a_total",
        "g",
    }
    assert asked("x and on (y) z offset 5m unless count(w:v:p95) > bool 1") >= {"x", "z", "w:v:p95"}


def test_every_query_asks_for_what_is_there(up: Up) -> None:
    recorded = {
        rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
    }
    known = told(page(up)) | recorded | PROMETHEUS_OWN

    unknown = {what: asked(query) - known for what, query in queries() if asked(query) - known}

    assert unknown == {}
    assert all(asked(query) for _, query in queries())
    assert len(list(queries())) > 60


def test_the_seeds_metrics_have_the_seeds_names(up: Up) -> None:
    known = told(page(up))

    for name in THE_SEEDS:
        assert name in known or f"{name}_bucket" in known, name


def samples(text: str, name: str, **labels: str) -> list[float]:
    return [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def test_what_somebody_does_is_counted(up: Up, person: Person) -> None:
    entry = {"date": "2024-05-01", "title": "Counted", "content": "One, two, three."}
    before = page(up)
    answer = person.http.post("/v1/journal/entries", json=entry)
    assert answer.status_code == 201
    refused = person.http.post("/v1/journal/entries", json=entry)
    assert refused.status_code == 409
    after = page(up)

    def grew(name: str, **labels: str) -> float:
        return sum(samples(after, name, **labels)) - sum(samples(before, name, **labels))

    route = "/v1/journal/entries"
    assert grew("http_requests_total", route=route, status="201") >= 1
    assert grew("api_usage_by_endpoint", endpoint=f"POST {route}") >= 2
    assert grew("mindstream_appended_events_total") >= 1
    assert grew("mindstream_append_refused_total", outcome="claimed") >= 1
    assert grew("mindstream_append_seconds_count") >= 1


def test_a_job_is_counted_and_timed(up: Up) -> None:
    assert up.cli("projections", "verify", "journal.days").returncode == 0

    text = page(up)

    done = {"kind": "projection.verify", "outcome": "succeeded"}
    assert sum(samples(text, "mindstream_jobs_total", **done)) >= 1
    assert sum(samples(text, "mindstream_job_duration_seconds_count", kind=done["kind"])) >= 1
    assert sum(samples(text, "mindstream_job_wait_seconds_count", kind=done["kind"])) >= 1


def test_the_database_tells_of_the_engine_even_if_no_projector_does(up: Up) -> None:
    def counted() -> bool:
        text = page(up)
        live = {"projection": "journal.entries", "state": "live"}
        return (
            samples(text, "mindstream_projection_state", **live) == [1.0]
            and samples(text, "mindstream_projection_lag_seconds", projection="ops.audit") != []
            # Told by who counted, and by nobody who did not.
            and [value > 5 for value in samples(text, "database_connections_active")] == [True]
        )

    eventually(counted)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    board: dict[str, Any] = json.loads(path.read_text())

    panels = board["panels"]
    assert board["uid"] == f"mindstream-{path.stem}"
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
