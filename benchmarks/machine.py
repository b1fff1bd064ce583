"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path

import psutil
import psycopg

SYNCS = 200


def describe(folder: Path, dsn: str) -> dict[str, str]:
    """The machine, the interpreter and the database in words; ``folder`` is on the disk used."""
    with psycopg.connect(dsn) as connection:
        settings = {
            name: connection.execute(f"SHOW {name}").fetchone()  # names from the next line only
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        }
    shown = {name: str(row[0]) for name, row in settings.items() if row is not None}
    return {
        "processor": f"{_processor()}, {psutil.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "postgresql": f"{shown['server_version']}, fsync {shown['fsync']}, synchronous_commit "
        f"{shown['synchronous_commit']}, shared_buffers {shown['shared_buffers']}",
        "busy": f"load average {os.getloadavg()[0]:.1f} before the first run",
        "flush": f"{_flush(folder) * 1e6:,.0f} µs for 8 KiB and fdatasync (median of {SYNCS})",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _flush(folder: Path) -> float:
    path = folder / "flush"
    times = []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
    try:
        for _ in range(SYNCS):
            started = time.perf_counter()
            os.write(handle, b"\0" * 8192)
            sync(handle)
            times.append(time.perf_counter() - started)
    finally:
        os.close(handle)
        path.unlink()
    return statistics.median(times)
