from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from bootstrap.metrics import merge

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
