"""The engine's series, labelled by projection."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

position = Gauge("mindstream_projection_position", "Last event included", ["projection"])
head = Gauge("mindstream_projection_head", "Head of the event store", ["projection"])
gap = Gauge("mindstream_projection_gap_events", "Events between position and head", ["projection"])
gap_seconds = Gauge(
    "mindstream_projection_gap_seconds", "Age of the oldest event not included", ["projection"]
)
partition_position = Gauge(
    "mindstream_projection_partition_position",
    "Last event included by a partition that this process holds",
    ["projection", "partition"],
)
quarantined = Gauge(
    "mindstream_projection_quarantined_streams", "Streams that wait in quarantine", ["projection"]
)
events = Counter("mindstream_projection_events_total", "Events folded", ["projection"])
failures = Counter("mindstream_projection_failures_total", "Failed batches", ["projection"])
poisoned = Counter(
    "mindstream_projection_poisoned_total", "Events put into quarantine", ["projection"]
)
batch = Histogram(
    "mindstream_projection_batch_seconds",
    "Time of a batch, reading to commit",
    ["projection"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


def tell(name: str, positions: Mapping[int, int], of: int) -> None:
    """Set how far the partitions of a projection are that this process holds."""
    for partition, reached in positions.items():
        partition_position.labels(name, str(partition)).set(reached)
    at = min(positions.values())
    position.labels(name).set(at)
    head.labels(name).set(of)
    gap.labels(name).set(max(0, of - at))
    if of <= at:
        gap_seconds.labels(name).set(0)


def forget(name: str, partition: int) -> None:
    """Say nothing any more of a partition that another process holds now."""
    for gauge in (position, head, gap, gap_seconds, quarantined):
        with contextlib.suppress(KeyError):
            gauge.remove(name)
    with contextlib.suppress(KeyError):
        partition_position.remove(name, str(partition))
