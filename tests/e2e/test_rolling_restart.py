"""Every process is replaced, one after the other, under a hundred requests a second."""

from __future__ import annotations

import json

import pytest

from bootstrap.rolling import ORDER
from tests.support.people import People
from tests.support.servers import wait_until
from tests.support.steady import listening, steady
from tests.support.upped import Up

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
PER_SECOND = 100


def test_no_request_fails_while_every_process_is_replaced(
    rough: Up, crowd: People, request: pytest.FixtureRequest
) -> None:
    rounds = 5 if request.config.getoption("--long") else 1
    writers = [crowd.new() for _ in range(8)]
    heard = writers[0]
    with (
        listening(rough.gateway, heard) as positions,
        steady(rough.gateway, writers, PER_SECOND) as stream,
    ):
        wait_until(lambda: len(positions) > 3, seconds=20, what="events arrive")
        for _ in range(rounds):
            before = rough.processes()
            replaced = rough.cli("restart", "--json")
            assert replaced.returncode == 0, replaced.stderr
            after = rough.processes()
            said = {process["name"]: process["pid"] for process in json.loads(replaced.stdout)}
            assert list(said) == list(ORDER)
            assert said == {name: after[name]["pid"] for name in ORDER}
            assert not set(said.values()) & {each["pid"] for each in before.values()}
        gone_on = stream.answered + 3 * PER_SECOND
        wait_until(lambda: stream.answered > gone_on, seconds=20, what="requests go on")
        stream.stop.set()
        wait_until(
            lambda: len(positions) >= stream.events[heard.id], seconds=20, what="all have arrived"
        )
        assert positions == sorted(set(positions)), "none comes twice"

    assert stream.failures == []
    # No longer than a client that does not retry would put up with.
    assert max(stream.seconds) < 10
