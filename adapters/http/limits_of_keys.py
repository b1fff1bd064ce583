"""What binds a request by an API key: its limits per minute and hour, and its monthly quota.

Owns how they are counted together and what is said of them. A key never has more a minute than the
setting gives everybody. A request that one of them refuses counts for none.
"""

from __future__ import annotations

from adapters.http.exchange import RawHeader
from adapters.http.limits import WINDOW, Limit, RateLimiter
from adapters.http.principal import Principal
from adapters.http.problems import Problem, retry_after

HOUR = 3600
MONTH = 31 * 24 * HOUR
"""How the quota's window is said in the policy; it ends with the calendar's month."""


class LimitReached(Problem):
    """429 with what is said of the limits; ``limited`` are the headers."""

    def __init__(
        self, code: str, detail: str, seconds: int, limited: tuple[RawHeader, ...]
    ) -> None:
        super().__init__(code, detail, headers=retry_after(seconds))
        self.limited = limited


def count_key(principal: Principal, limiter: RateLimiter, now: float) -> tuple[RawHeader, ...]:
    """Count one request of a key; the headers that tell what is left.

    Raises:
        LimitReached: one of its limits is used up.
    """
    key = principal.key
    assert key is not None
    name = f"key:{principal.api_key_id}"
    most = limiter.per_minute
    if key.per_minute is not None:
        most = min(most, key.per_minute)
    limits = [Limit(name, most, WINDOW)]
    if key.per_hour is not None:
        limits.append(Limit(f"{name}:hour", key.per_hour, HOUR))
    quota = key.quota
    left = 1 if quota is None else quota.left(now)
    decisions = limiter.check_all(limits, now) if left > 0 else []
    if decisions and all(decision.allowed for decision in decisions):
        key.used()
        left -= 1
    policies: list[bytes] = []
    states: list[bytes] = []
    for label, limit, decision in zip((b"default", b"hour"), limits, decisions, strict=False):
        policies.append(b'"%b";q=%d;w=%d' % (label, limit.most, limit.window))
        states.append(b'"%b";r=%d;t=%d' % (label, decision.remaining, decision.reset_seconds))
    if quota is not None:
        policies.append(b'"month";q=%d;w=%d' % (quota.limit, MONTH))
        states.append(b'"month";r=%d;t=%d' % (max(0, left), quota.reset_seconds(now)))
    said = (
        (b"ratelimit-policy", b", ".join(policies)),
        (b"ratelimit", b", ".join(states)),
    )
    if not decisions:
        assert quota is not None
        detail = f"The quota of {quota.limit} requests a month is used up."
        raise LimitReached("QUOTA_EXCEEDED", detail, quota.reset_seconds(now), said)
    for limit, decision in zip(limits, decisions, strict=True):
        if not decision.allowed:
            span = "a minute" if limit.window == WINDOW else "an hour"
            seconds = decision.reset_seconds
            detail = f"The limit of {limit.most} requests {span} is used up for {seconds} s."
            raise LimitReached("RATE_LIMITED", detail, seconds, said)
    return said
