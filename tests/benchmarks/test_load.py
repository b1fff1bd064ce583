from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks import generator, load

Make = Callable[[load.Plan], load.Result]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = (self.command, self.path, dict(self.headers), body)
        self.server.asked.append(asked)
        answer = b"" if self.server.status == 304 else b'{"ok":true}'
        self.send_response(self.server.status)
        if answer:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _answer  # noqa: N815 - the base's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # load ends with requests under way
            super().handle()


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _wrk(plan: load.Plan) -> load.Result:
    if load.wrk() is None:
        pytest.skip("wrk cannot be had on this machine")
    return load.run(plan)


@pytest.fixture(params=["wrk", "generator"])
def make(request: pytest.FixtureRequest) -> Make:
    return _wrk if request.param == "wrk" else generator.generate


def _plan(server: _Server, **more: Any) -> load.Plan:
    given: dict[str, Any] = {"targets": [(0, "/x")], "seconds": 1.0, "connections": 4, **more}
    return load.Plan(port=server.server_address[1], **given)


def test_posts_are_each_a_new_day_of_the_next_person(server: _Server, make: Make) -> None:
    # From day 0 over the ends of leap years, four years and a century would take long: begin there.
    first = 2 * 36_520
    template = '{"date":"{date}","text":"said \\"é\\""}'
    result = make(_plan(server, tokens=("a", "b"), template=template, first=first))

    days: dict[str, list[str]] = {"a": [], "b": []}
    for method, path, headers, body in server.asked:
        assert (method, path) == ("POST", "/x")
        assert headers["Content-Type"] == "application/json"
        document = msgspec.json.decode(body)
        assert document["text"] == 'said "é"'
        days[headers["Authorization"].removeprefix("Bearer ")].append(document["date"])
    assert result.requests <= len(server.asked) <= result.requests + 4
    for person in days.values():
        # Several connections: not quite in order as they arrive.
        numbers = sorted(_number(day) for day in person)
        assert len(set(numbers)) == len(numbers)
        assert numbers[-1] - numbers[0] < len(numbers) + 4
        assert abs(numbers[0] - first // 2) <= 4


def _number(day: str) -> int:
    return datetime.date.fromisoformat(day).toordinal() - 1


def test_gets_take_the_targets_in_turn(server: _Server, make: Make) -> None:
    targets = [(0, "/one"), (1, "/two"), (0, "/three")]
    result = make(_plan(server, tokens=("a", "b"), targets=targets, etag='"1"'))

    assert result.requests > 10
    assert result.rate == pytest.approx(result.requests / result.seconds)
    assert 0 < result.p50_ms <= result.p99_ms
    asked = {(path, headers["Authorization"]) for _, path, headers, _ in server.asked}
    assert asked == {("/one", "Bearer a"), ("/two", "Bearer b"), ("/three", "Bearer a")}
    assert {headers["If-None-Match"] for _, _, headers, _ in server.asked} == {'"1"'}
    counts = [sum(path == one for _, path, _, _ in server.asked) for _, one in targets]
    assert max(counts) - min(counts) <= 4


def test_an_answer_without_a_body_is_an_answer(server: _Server, make: Make) -> None:
    server.status = 304
    result = make(_plan(server, tokens=("a",)))
    assert result.requests > 10
    assert not result.broken
    assert not result.refused


def test_refusals_fail_the_run(server: _Server) -> None:
    server.status = 429
    assert generator.generate(_plan(server)).refused
    with pytest.raises(load.LoadFailed, match="not answered as it should be"):
        load.run(_plan(server))


def test_without_wrk_the_generator_makes_the_load_and_the_report_says_so(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "wrk", lambda: None)
    assert "own generator" in load.maker()
    assert load.run(_plan(server)).requests > 10


def test_wrk_is_unpacked_where_it_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load._unpacked(tmp_path) is None
    program = tmp_path / "usr" / "bin" / "wrk"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho wrk 4.1.0 >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    library = tmp_path / "usr" / "lib" / "libluajit.so.2"
    library.parent.mkdir()
    library.touch()
    found = load._unpacked(tmp_path)
    assert found is not None
    assert found.environment == {"LD_LIBRARY_PATH": str(library.parent)}
