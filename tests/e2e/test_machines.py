"""Projectors on several machines, and whatever else runs, killed again and again.

In the end every read model must be what a fold of the events says: ``verify`` compares them.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bootstrap.views import VIEWS
from tests.e2e.conftest import OPERATOR
from tests.support.generated_diary import GeneratedDiary
from tests.support.machines import Machine
from tests.support.people import People, Person, token_of
from tests.support.rough import is_there_once, kill, kill_aside, pid_of, wait_for_another, writing
from tests.support.servers import wait_until
from tests.support.upped import Up

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

ENTRIES = "/v1/ops/projections/journal.entries"
DIARY = GeneratedDiary(1_500, seed=23)


@pytest.fixture(scope="module")
def operator(crowd: People) -> Person:
    return crowd.log_in(*OPERATOR)


@pytest.fixture
def second(rough: Up) -> Iterator[Machine]:
    machine = Machine(rough)
    yield machine
    machine.close()


def owners(operator: Person) -> list[int]:
    """The pids of the processes that hold the partitions of the entry list."""
    partitions = operator.get(ENTRIES).json()["data"]["partitions"]
    return [int((each["owner"] or ":0").rpartition(":")[2]) for each in partitions]


def every_read_model_is_its_fold(rough: Up) -> None:
    done = rough.cli("projections", "verify", "--all", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert {each["projection"] for each in found if each["equal"]} == {view.name for view in VIEWS}


def test_two_machines_share_and_take_over(
    rough: Up,
    crowd: People,
    operator: Person,
    second: Machine,
    request: pytest.FixtureRequest,
    slack: float,
) -> None:
    both = {second.pid, pid_of(rough, "projector")}
    wait_until(lambda: set(owners(operator)) == both, seconds=10, what="both hold partitions")
    counts = sorted(owners(operator).count(pid) for pid in both)
    assert counts == [2, 2]
    person = crowd.new()
    path = person.begin_import(DIARY.raw)
    for round_ in range(10 if request.config.getoption("--long") else 2):
        if round_ % 2:
            dead = kill(rough, "projector")
            wait_for_another(rough, "projector", dead)
        else:
            dead = second.kill()
        began = time.monotonic()
        probe = token_of(person.write(f"1970-01-{round_ + 1:02}"))
        assert person.get("/v1/journal/entries", headers=probe).status_code == 200
        wait_until(
            lambda pid=dead: pid not in owners(operator),
            seconds=5 * slack,
            what="it is taken over",
        )
        assert time.monotonic() - began < 5 * slack
    operation, fresh = person.ended(path)
    assert operation["result"]["accepted"] == len(DIARY.entries)
    assert len(person.whole_list(fresh)) == len(DIARY.entries) + round_ + 1
    every_read_model_is_its_fold(rough)


def test_whatever_is_killed_the_read_models_are_their_fold(
    rough: Up, crowd: People, second: Machine, request: pytest.FixtureRequest
) -> None:
    draw = random.Random(41)
    person = crowd.new()
    times = 200 if request.config.getoption("--long") else 10
    aside = "the projector's process aside"
    victims = [*rough.processes(), "the second machine's projector", aside]
    with writing(person, writers=4) as said:
        for number in range(times):
            wanted = len(said) + draw.randrange(5, 40)
            wait_until(lambda n=wanted: len(said) >= n, seconds=60, what="writes go on")
            victim = (
                victims[number % len(victims)] if number < len(victims) else draw.choice(victims)
            )
            if victim == aside:
                wait_for_another(rough, "projector", kill_aside(rough))
            elif victim in rough.processes():
                wait_for_another(rough, victim, kill(rough, victim))
            else:
                second.kill()
    wait_until(
        lambda: crowd.anonymous.get("/health/ready").status_code == 200,
        seconds=20,
        what="everything is ready again",
    )
    probe = person.write("2099-01-01")
    fresh = token_of(person.delete(probe.headers["Location"], 1))
    is_there_once(person, said, fresh)
    every_read_model_is_its_fold(rough)
