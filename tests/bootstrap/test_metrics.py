from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bootstrap import machine, metrics
from bootstrap.embedded import free_port
from bootstrap.machine import Machine
from bootstrap.metrics import merge
from bootstrap.places import Places

ONE = """\
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{route="/v1/a b",status="200"} 3.0
# HELP up_seconds Time.
# TYPE up_seconds gauge
up_seconds 12.5
"""
TWO = """\
# HELP up_seconds Time.
# TYPE up_seconds gauge
up_seconds 1.0
# HELP latency_seconds Latency.
# TYPE latency_seconds histogram
latency_seconds_bucket{le="+Inf"} 2.0
latency_seconds_count 2.0
latency_seconds_sum 0.5
"""


def test_pages_become_one_with_each_family_once_and_the_process_on_each_sample() -> None:
    page = merge({"read-api": ONE, "worker-1": TWO})

    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert set(families) == {"http_requests", "up_seconds", "latency_seconds"}
    assert [(s.labels, s.value) for s in families["up_seconds"].samples] == [
        ({"process": "read-api"}, 12.5),
        ({"process": "worker-1"}, 1.0),
    ]
    [sample] = families["http_requests"].samples
    assert sample.labels == {"process": "read-api", "route": "/v1/a b", "status": "200"}
    assert page.count("# TYPE up_seconds") == page.count("# HELP up_seconds") == 1


def test_a_role_that_runs_alone_tells_at_an_address_of_its_own(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.prepare()
    address = f"127.0.0.1:{free_port()}"

    metrics.serve(places, "projector", address)
    # The second process of a machine goes on without, and the first shows what it tells.
    metrics.serve(places, "projector-2", address)

    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    for process in ("projector", "projector-2"):
        assert f'process_cpu_seconds_total{{process="{process}"}}' in page


def test_the_machine_tells_of_itself(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    Machine(tmp_path, registry)

    families = text_string_to_metric_families(generate_latest(registry).decode())

    told = {sample.name: sample.value for family in families for sample in family.samples}
    assert 0 < told["memory_utilization_percent"] < 100
    assert 0 <= told["cpu_utilization_percent"] <= 100
    assert 0 < told["disk_free_bytes"] < told["disk_size_bytes"]


def test_a_container_that_shows_no_disks_has_metrics_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise NotImplementedError("there is no /proc/diskstats")

    monkeypatch.setattr(machine.psutil, "disk_io_counters", refuse)
    monkeypatch.setattr(machine.psutil, "net_io_counters", lambda: None)
    registry = CollectorRegistry()
    Machine(tmp_path, registry)

    page = generate_latest(registry).decode()

    assert "cpu_utilization_percent" in page
    assert "disk_io_operations" not in page
