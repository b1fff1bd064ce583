"""How many requests were answered how fast: counted for Prometheus at the cost of a few additions.

Owns the HTTP series, under the names of the seeds. ``prometheus_client``'s own counters take a lock
for each bucket, which is dear at tens of thousands of requests a second; here a request adds to
plain numbers that are made into samples when they are read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""


class _Timing:
    """The durations of one method and route."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0


class HttpMetrics(Collector):
    """``http_requests_total``, ``http_request_duration_seconds``, ``api_usage_by_endpoint``."""

    def __init__(self, service: str, registry: CollectorRegistry | None = None) -> None:
        """Count for ``service`` (``write-api``), and be read through ``registry``."""
        self._service = service
        self._requests: dict[tuple[str, str, int], int] = {}
        self._timings: dict[tuple[str, str], _Timing] = {}
        if registry is not None:
            registry.register(self)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer; ``route`` is a template, so that the number of series is bounded."""
        key = (method, route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        timing = self._timings.get((method, route))
        if timing is None:
            timing = self._timings[method, route] = _Timing()
        timing.counts[bisect_left(BUCKETS, seconds)] += 1
        timing.total += seconds

    def collect(self) -> Iterator[Metric]:
        """The samples (called by the registry)."""
        requests = CounterMetricFamily(
            "http_requests",
            "Requests answered.",
            labels=("service", "method", "route", "status"),
        )
        for (method, route, status), count in list(self._requests.items()):
            requests.add_metric((self._service, method, route, str(status)), count)
        yield requests
        durations = HistogramMetricFamily(
            "http_request_duration_seconds",
            "From the request's head to the end of its answer.",
            labels=("service", "method", "route"),
        )
        for (method, route), timing in list(self._timings.items()):
            buckets: list[tuple[str, float]] = []
            running = 0
            for bound, count in zip((*BUCKETS, "+Inf"), timing.counts, strict=True):
                running += count
                buckets.append((str(bound), running))
            durations.add_metric((self._service, method, route), buckets, timing.total)
        yield durations
        # Of no type: a counter would have to be called otherwise.
        usage = Metric("api_usage_by_endpoint", "Requests answered, whatever with.", "unknown")
        for (method, route), timing in list(self._timings.items()):
            labels = {"service": self._service, "endpoint": f"{method} {route}"}
            usage.add_sample("api_usage_by_endpoint", labels, sum(timing.counts))
        yield usage

    def describe(self) -> Iterator[Metric]:
        """No series is known before the first request."""
        return iter(())
