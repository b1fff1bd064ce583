"""What a refused login tells by its time: a wrong password against an unknown address.

They take turns at one write API with its real hashes, from addresses enough that none is throttled.
"""

from __future__ import annotations

import http.client
import itertools
import statistics
import time

import msgspec

from adapters.attempts import ALLOWED
from benchmarks import product
from benchmarks.report import Row, at_most
from benchmarks.servers import Bench, Unready, wait_until
from bootstrap.embedded import free_port

TRIES = 500
LOGIN = "/v1/auth/login"
_KNOWN, _UNKNOWN = "reader-0@example.org", "nobody-0@example.org"


def run(bench: Bench) -> list[Row]:
    """Measure; one row, without a peer."""
    database = bench.migrated("login")
    port = free_port()
    settings = bench.settings(
        database, write_api_address=f"127.0.0.1:{port}", trusted_proxies=("127.0.0.1/32",)
    )
    with product.role(bench, "write-api", settings):
        wait_until(lambda: product.ready(port), what="the API is ready", seconds=20)
        product.register(port, 0)
        seconds = _measure(port)
    bench.drop(database)
    wrong, unknown = (statistics.median(seconds[email]) for email in (_KNOWN, _UNKNOWN))
    return [
        at_most(
            5,
            "login",
            f"Refused login, wrong password against unknown address, {TRIES} tries each",
            "%",
            abs(wrong - unknown) / unknown * 100,
            note=f"medians {wrong * 1e3:.2f} ms and {unknown * 1e3:.2f} ms",
            runs=[wrong * 1e3, unknown * 1e3],
        )
    ]


def _measure(port: int) -> dict[str, list[float]]:
    """The seconds of each try, by the address that it was for."""
    seconds: dict[str, list[float]] = {_KNOWN: [], _UNKNOWN: []}
    turns = itertools.cycle([(_KNOWN, _UNKNOWN), (_UNKNOWN, _KNOWN)])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        for number, turn in zip(range(TRIES), turns, strict=False):
            client = f"198.51.{number // ALLOWED // 250}.{number // ALLOWED % 250 + 1}"
            headers = {"Content-Type": "application/json", "X-Forwarded-For": client}
            for email in turn:
                body = msgspec.json.encode({"email": email, "password": "not this one, surely"})
                began = time.perf_counter()
                connection.request("POST", LOGIN, body, headers)
                answer = connection.getresponse()
                answer.read()
                seconds[email].append(time.perf_counter() - began)
                if answer.status != 401:
                    raise Unready(f"a wrong password was answered with {answer.status}")
    finally:
        connection.close()
    return seconds
