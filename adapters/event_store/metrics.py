"""The event store's series: one look at the clock for each transaction, none for a command."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

appends = Histogram(
    "mindstream_append_seconds",
    "A transaction that appends, from sending it to its commit",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
grouped = Histogram(
    "mindstream_append_commands",
    "Commands in one transaction",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
events = Counter("mindstream_appended_events_total", "Events appended")
refused = Counter(
    "mindstream_append_refused_total",
    "Commands refused: conflict (of versions), claimed (a name is taken), replayed (answered)",
    ["outcome"],
)
for _outcome in ("conflict", "claimed", "replayed"):
    refused.labels(_outcome)
