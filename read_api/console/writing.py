"""How the console writes values down: numbers, times, states, JSON, lines.

Owns the Jinja environment with its filters. Every value is escaped; only ``spark`` makes markup,
out of numbers alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent
ASSETS = "/assets/"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

_TONES = {
    "good": "live ok ready succeeded released".split(),
    "warn": "catching_up retrying degraded paused stopped".split(),
    "bad": "stalled parked failed unavailable".split(),
    "busy": "rebuilding running pending comparing swapping".split(),
}
_TONE_OF = {state: tone for tone, states in _TONES.items() for state in states}
_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"))


class Asset(msgspec.Struct, frozen=True):
    """A file of ours as browsers load it; ``path`` holds a hash of its content."""

    path: str
    media_type: str
    content: bytes


def _asset(file: Path) -> Asset:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(f"{ASSETS}{file.stem}.{digest}{file.suffix}", TYPES[file.suffix], content)


FILES = {file.name: _asset(file) for file in sorted((HERE / "static").iterdir())}
"""The style sheet and the scripts, by name."""


def number(value: float | None) -> str:
    """Grouped by thousands; one decimal where that says something."""
    if value is None:
        return "–"
    if isinstance(value, int) or value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}"


def seconds(value: float | None) -> str:
    """A length of time as people say it: ``0.4 s``, ``3 min``, ``2 h``."""
    if value is None:
        return "–"
    for length, unit in _STEPS:
        if value >= length:
            return f"{value / length:.0f} {unit}"
    return f"{value:.0f} s" if value >= 10 or value == 0 else f"{value:.1f} s"


def progress(share: float | None, state: str | None, eta: float | None) -> str:
    """How far something is, and how long it will take."""
    said = [f"{(share or 0) * 100:.0f} %"]
    if state is not None:
        said.append(state)
    if eta is not None:
        said.append(f"{seconds(eta)} left")
    return ", ".join(said)


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago it was; its date where that is more than a week."""
    passed = ((now or datetime.now(UTC)) - moment).total_seconds()
    if passed < 1:
        return "now"
    if passed >= 7 * 86_400:
        return moment.astimezone(UTC).strftime("%Y-%m-%d")
    return f"{seconds(int(passed)).replace('.0 ', ' ')} ago"


def tone(state: str) -> str:
    """How a state is to be taken: good, warn, bad, busy, or nothing of it."""
    return _TONE_OF.get(state, "")


def pretty(value: Any) -> str:
    """JSON with line breaks."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def plain(value: Any) -> str:
    """A value of an event's field on one line; what is personal is named, not shown."""
    if value == {"sealed": True}:
        return "hidden"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def link(values: dict[str, Any]) -> str:
    """A query string of those that are not None."""
    return urlencode({name: value for name, value in values.items() if value is not None})


def spark(points: Sequence[tuple[float, float]], width: int = 120, height: int = 28) -> Markup:
    """A line over time as SVG; points are (seconds, value), the floor is 0."""
    if len(points) < 2:
        return Markup("")
    (first, _), (last, _) = points[0], points[-1]
    most = max(value for _, value in points) or 1
    span = (last - first) or 1
    drawn = " ".join(
        f"{(at - first) / span * width:.1f},{height - 2 - value / most * (height - 5):.1f}"
        for at, value in points
    )
    return Markup(  # noqa: S704  numbers only
        f'<svg class="spark" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' aria-hidden="true" preserveAspectRatio="none">'
        f'<line class="base" x1="0" y1="{height - 1}" x2="{width}" y2="{height - 1}"/>'
        f'<polygon class="area" points="0,{height - 2} {drawn} {width},{height - 2}"/>'
        f'<polyline class="line" points="{drawn}"/></svg>'
    )


def environment() -> Environment:
    """The templates and all that they may call."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=number,
        seconds=seconds,
        ago=ago,
        progress=progress,
        tone=tone,
        pretty=pretty,
        plain=plain,
        link=link,
        spark=spark,
    )
    made.globals["asset"] = lambda name: FILES[name].path
    return made
