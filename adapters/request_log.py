"""The log of requests: one row for each answer, written beside the requests and never before them.

Owns the queue between the two. It is bounded: what a second brings beyond ``PER_SECOND`` is counted
and left out, so that a flood of requests does not become one of rows. Refused requests have room of
their own, since those are what one looks for. A row holds a route's template and not the path, and
of an address its network; no query string, body, header or whole address comes near it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network

import psycopg
import structlog
from prometheus_client import Counter

from adapters.http.principal import Principal
from adapters.postgres.pipeline import Pipeline, Statement

log = structlog.get_logger()

EVERY = 0.5
"""Seconds between two writes."""
PER_SECOND = 1_000
"""Rows that are written in a second at most, of answers and of refusals each."""

DROPPED = Counter(
    "mindstream_request_log_dropped", "Requests that the log of requests lacks", ["service"]
)

_INSERT = Statement(
    "request_log",
    """
    INSERT INTO ops_requests (at, service, request_id, method, route, status, duration_ms, user_id,
                              tenant_id, api_key_id, client_version, address)
    SELECT at, $1, request_id, method, route, status, micros / 1000.0, user_id, tenant_id,
           api_key_id, client_version, address
    FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        AS r (at, request_id, method, route, status, micros, user_id, tenant_id, api_key_id,
              client_version, address)
    """,
    (
        *("text", "timestamptz[]", "text[]", "text[]", "text[]", "int4[]", "int8[]"),
        *("uuid[]", "uuid[]", "uuid[]", "text[]", "text[]"),
    ),
)

Seen = tuple[float, str, str, str, int, float, Principal | None, str | None, str | None]


class RequestLog:
    """Gathers what was answered, and writes it in batches until it is told to stop.

    The pipeline's role may insert into ``ops_requests``.
    """

    def __init__(
        self,
        service: str,
        pipeline: Pipeline,
        *,
        per_second: int = PER_SECOND,
    ) -> None:
        self._service = service
        self._pipeline = pipeline
        self._most = max(1, int(per_second * EVERY))
        self._answered: list[Seen] = []
        self._refused: list[Seen] = []
        self._left_out = 0
        self._dropped = DROPPED.labels(service)

    def add(
        self,
        at: float,
        request_id: str,
        method: str,
        route: str,
        status: int,
        seconds: float,
        principal: Principal | None,
        client_version: str | None,
        address: str | None,
    ) -> None:
        """Note an answer; ``at`` is Unix time. Costs less than a microsecond and never waits."""
        rows = self._answered if status < 400 else self._refused
        if len(rows) >= self._most:
            self._left_out += 1
            return
        rows.append(
            (at, request_id, method, route, status, seconds, principal, client_version, address)
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Write every half second until ``stop`` is set, and then once more."""
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await stop.wait()
            await self.flush()
        await self.flush()

    async def flush(self) -> None:
        """Write what was gathered; rows that the database does not take are left out."""
        rows = self._answered + self._refused
        self._answered, self._refused = [], []
        left_out, self._left_out = self._left_out, 0
        if rows:
            try:
                await self._pipeline.run((_INSERT, (self._service, *_columns(rows))), within=0.1)
            except psycopg.Error as error:
                log.warning("requests_not_logged", count=len(rows), reason=type(error).__name__)
                left_out += len(rows)
        if left_out:
            self._dropped.inc(left_out)


def _columns(rows: list[Seen]) -> list[tuple[object, ...]]:
    return list(
        zip(
            *(
                (
                    datetime.fromtimestamp(at, UTC),
                    request_id,
                    method,
                    route,
                    status,
                    round(seconds * 1_000_000),
                    None if who is None else who.user_id,
                    None if who is None else who.tenant_id,
                    None if who is None else who.api_key_id,
                    client_version,
                    network_of(address),
                )
                for (
                    at, request_id, method, route, status, seconds, who, client_version, address,
                ) in rows
            ),
            strict=True,
        )
    )  # fmt: skip


@lru_cache(4096)
def network_of(address: str | None) -> str | None:
    """The network of 256 addresses (IPv6: a /48) that an address is in; None where it is none."""
    if address is None:
        return None
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
