"""The machine's own figures, under the names of the seeds, told by one process of each machine.

Read when they are asked for; nothing is measured in between. There is no
``gpu_utilization_percent`` since nothing here runs on one: models are behind HTTP, on machines of
their own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

T = TypeVar("T")


class Machine(Collector):
    """CPU, memory, disk and network; ``home`` lies on the disk whose room is told."""

    def __init__(self, home: Path, registry: CollectorRegistry | None = None) -> None:
        self._home = home
        psutil.cpu_percent()  # the first answer counts from here on
        if registry is not None:
            registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The samples (called by the registry)."""
        memory = psutil.virtual_memory()
        yield _gauge("cpu_utilization_percent", "Since it was last asked", psutil.cpu_percent())
        yield _gauge("memory_utilization_percent", "Of the machine's memory", memory.percent)
        disk = _seen(psutil.disk_io_counters)
        if disk is not None:
            done = CounterMetricFamily(
                "disk_io_operations", "Done by the machine's disks", labels=("direction",)
            )
            done.add_metric(("read",), disk.read_count)
            done.add_metric(("write",), disk.write_count)
            yield done
        network = _seen(psutil.net_io_counters)
        if network is not None:
            # Of no type: a counter would have to be called otherwise.
            sent = Metric("network_bytes_transmitted", "By all of its interfaces", "unknown")
            sent.add_sample("network_bytes_transmitted", {}, network.bytes_sent)
            yield sent
        room = shutil.disk_usage(self._home)
        yield _gauge("disk_free_bytes", "Where embedded state lies", room.free)
        yield _gauge("disk_size_bytes", "Where embedded state lies", room.total)

    def describe(self) -> Iterator[Metric]:
        """Nothing is asked before somebody wants to know."""
        return iter(())


def _seen(look: Callable[[], T | None]) -> T | None:
    """What a look finds; a container may not let one look, or have nothing there."""
    try:
        return look()
    except (OSError, NotImplementedError, RuntimeError):
        return None


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, says, value)
