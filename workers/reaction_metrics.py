"""The reactions' series, labelled by reaction."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

position = Gauge("mindstream_reaction_position", "Last event dealt with", ["reaction"])
head = Gauge("mindstream_reaction_head", "Head of the event store", ["reaction"])
gap = Gauge("mindstream_reaction_gap_events", "Events between position and head", ["reaction"])
quarantined = Gauge(
    "mindstream_reaction_quarantined_streams", "Streams that wait in quarantine", ["reaction"]
)
events = Counter("mindstream_reaction_events_total", "Events reacted to", ["reaction"])
effects = Counter("mindstream_reaction_effects_total", "Effects, repeats included", ["reaction"])
stale = Counter("mindstream_reaction_stale_total", "Events passed over as too old", ["reaction"])
failures = Counter(
    "mindstream_reaction_failures_total", "Times that what it needs could not be had", ["reaction"]
)
poisoned = Counter("mindstream_reaction_poisoned_total", "Events put into quarantine", ["reaction"])
seconds = Histogram(
    "mindstream_reaction_seconds",
    "Time that one event took",
    ["reaction"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30),
)


def tell(name: str, at: int, of: int) -> None:
    """Set how far a reaction is."""
    position.labels(name).set(at)
    head.labels(name).set(max(at, of))
    gap.labels(name).set(max(0, of - at))
