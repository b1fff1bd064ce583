"""The series of long work: how many jobs ended how, how long they waited and lasted."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from domain.journal.insight import INSIGHT

_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

jobs = Counter("mindstream_jobs_total", "Jobs that ended", ["kind", "outcome"])
waits = Histogram(
    "mindstream_job_wait_seconds", "From acceptance to a worker", ["kind"], buckets=_BUCKETS
)
durations = Histogram(
    "mindstream_job_duration_seconds",
    "From a worker's beginning to the end",
    ["kind"],
    buckets=_BUCKETS,
)
analyses = Histogram(
    "analysis_duration_seconds",
    "Of an insight, from a worker's beginning to the end",
    ["kind"],
    buckets=_BUCKETS,
)


def ended(kind: str, outcome: str, waited: float | None, worked: float | None) -> None:
    """Count one; both times are in seconds, None where it never began."""
    jobs.labels(kind, outcome).inc()
    if waited is not None:
        waits.labels(kind).observe(max(0.0, waited))
    if worked is not None:
        durations.labels(kind).observe(worked)
        if kind == INSIGHT:
            analyses.labels(kind).observe(worked)
