"""Load over raw sockets where wrk cannot be had: ``python -m benchmarks.generator PLAN``.

It parses as little of an answer as it can, yet costs some 20 µs a request and so may itself be the
limit where a server answers quickly; results that were made with it say so.
"""

from __future__ import annotations

import datetime
import re
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.load import MARK, Plan, Result
from benchmarks.measure import percentile

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BODILESS = (b"204", b"304")


def requests(plan: Plan) -> Iterator[bytes]:
    """The plan's requests, without end."""
    heads = [f" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {t}\r\n" for t in plan.tokens]
    heads = heads or [" HTTP/1.1\r\nHost: 127.0.0.1\r\n"]
    number = plan.first
    etag = "" if plan.etag is None else f"If-None-Match: {plan.etag}\r\n"
    while True:
        if plan.template is None:
            user, path = plan.targets[number % len(plan.targets)]
            yield f"GET {path}{heads[user]}{etag}\r\n".encode()
        else:
            day = datetime.date.fromordinal(1 + number // len(heads)).isoformat()
            body = plan.template.replace("{date}", day, 1).encode()
            head = f"POST {plan.targets[0][1]}{heads[number % len(heads)]}"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            yield head.encode() + body
        number += 1


class _Connection:
    """One socket with one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> tuple[bytes, int] | None:
        """Status and size of the answer when it is whole, else None."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        status = self.received[9:12]
        found = _LENGTH.search(self.received, 0, end)
        if found is None and status not in _BODILESS:
            raise ConnectionError("an answer without Content-Length")
        length = 0 if found is None or status in _BODILESS else int(found[1])
        if len(self.received) < end + 4 + length:
            return None
        size = len(self.received)
        self.received = b""
        return status, size


def generate(plan: Plan) -> Result:
    """Make the load for the plan's time."""
    source = requests(plan)
    times: list[float] = []
    received = broken = refused = 0
    with selectors.DefaultSelector() as selector:
        started = time.perf_counter()
        deadline = started + plan.seconds
        for _ in range(plan.connections):
            connection = _Connection(plan.port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(source))
        while (now := time.perf_counter()) < deadline and selector.get_map():
            for key, _ in selector.select(timeout=deadline - now):
                connection = key.data
                try:
                    answer = connection.receive()
                    if answer is None:
                        continue
                    times.append(time.perf_counter() - connection.sent_at)
                    refused += answer[0] >= b"400"
                    received += answer[1]
                    connection.send(next(source))
                except OSError:
                    broken += 1
                    selector.unregister(connection.socket)
                    connection.socket.close()
        seconds = time.perf_counter() - started
        for key in list(selector.get_map().values()):
            key.data.socket.close()
    return Result(
        requests=len(times),
        seconds=seconds,
        bytes=received,
        broken=broken,
        refused=refused,
        p50_ms=percentile(times, 0.5) * 1e3 if times else 0.0,
        p99_ms=percentile(times, 0.99) * 1e3 if times else 0.0,
    )


if __name__ == "__main__":
    found = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    print(MARK + msgspec.json.encode(generate(found)).decode())
