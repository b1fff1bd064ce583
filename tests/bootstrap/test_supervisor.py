from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request

import psutil
import psycopg
import pytest
import redis

from tests.support.servers import wait_until
from tests.support.upped import Up, with_fake_roles

ROLES = ("write-api", "read-api", "projector", "worker", "scheduler", "gateway")
SERVERS = ("postgres", "valkey")
pytestmark = pytest.mark.faults


def answers(url: str, method: str = "GET") -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False


def usable(up: Up, name: str) -> bool:
    services = up.services()
    match name:
        case "postgres":
            try:
                with psycopg.connect(services["write_dsn"], connect_timeout=2) as connection:
                    return connection.execute("SELECT 1").fetchone() == (1,)
            except psycopg.OperationalError:
                return False
        case "valkey":
            try:
                with redis.Redis.from_url(services["redis_url"], socket_timeout=2) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False
        case "write-api":
            return answers(f"{up.gateway}/v1/anything", "POST")
        case "read-api" | "gateway":
            return answers(f"{up.gateway}/v1/anything")
        case _:
            with socket.socket(socket.AF_UNIX) as metrics:
                return metrics.connect_ex(str(up.home / "run" / f"metrics-{name}.sock")) == 0


def test_services_have_the_promised_shape_and_the_servers_own_pids(up: Up) -> None:
    services = up.services()

    assert set(services) == {
        "gateway",
        "write_dsn",
        "read_dsn",
        "owner_dsn",
        "redis_url",
        "search_url",
        "timeseries_dsn",
        "processes",
    }
    assert services["gateway"] == up.gateway
    assert services["search_url"] is None
    assert {process["name"] for process in services["processes"]} == {*ROLES, *SERVERS}
    for name in SERVERS:
        assert psutil.Process(up.processes()[name]["pid"]).name() == name
    for process in services["processes"]:
        assert set(process) == {"name", "pid", "started_at", "restarts", "died", "died_at"}
        assert process["started_at"].endswith("Z")


@pytest.mark.parametrize("name", [*SERVERS, *ROLES])
def test_what_is_killed_is_back_within_five_seconds(up: Up, name: str) -> None:
    before = up.processes()[name]

    os.kill(before["pid"], signal.SIGKILL)

    wait_until(
        lambda: up.processes()[name]["pid"] != before["pid"] and usable(up, name),
        seconds=5,
        what=f"{name} is back",
    )
    after = up.processes()[name]
    assert after["restarts"] == before["restarts"] + 1
    assert after["started_at"] > after["died_at"] > before["started_at"]
    assert after["died"] == "SIGKILL"
    lines = (up.home / "log" / f"{name}.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if "process_ended" in line]
    assert told[-1]["context"] == {"reason": "SIGKILL"}
    assert told[-1]["pod"] == name


def test_a_database_stopped_at_once_comes_back_with_what_was_committed(up: Up) -> None:
    services, before = up.services(), up.processes()["postgres"]
    with psycopg.connect(services["owner_dsn"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS it")

    os.kill(before["pid"], signal.SIGQUIT)

    wait_until(
        lambda: up.processes()["postgres"]["pid"] != before["pid"] and usable(up, "postgres"),
        seconds=5,
        what="postgres is back",
    )
    assert up.services()["owner_dsn"] == services["owner_dsn"]
    with psycopg.connect(services["owner_dsn"], autocommit=True) as connection:
        assert connection.execute("SELECT it FROM kept").fetchone() == (1,)
        connection.execute("DROP TABLE kept")


def test_an_api_that_hangs_is_replaced(up: Up) -> None:
    before = up.processes()["read-api"]["pid"]

    os.kill(before, signal.SIGSTOP)

    # One that has never answered is given a minute to start; this one may just have begun.
    wait_until(
        lambda: up.processes()["read-api"]["pid"] != before, seconds=90, what="it is replaced"
    )
    assert not psutil.pid_exists(before)


def test_what_is_named_is_replaced_and_nothing_else(up: Up) -> None:
    before = up.processes()

    replaced = up.cli("restart", "write-api", "gateway")

    assert replaced.returncode == 0, replaced.stderr
    after = up.processes()
    changed = {name for name in after if after[name]["pid"] != before[name]["pid"]}
    assert changed == {"write-api", "gateway"}
    for name in changed:
        assert after[name]["restarts"] == before[name]["restarts"] + 1
        assert after[name]["died_at"] == before[name]["died_at"], "it did not die by itself"
        assert not psutil.pid_exists(before[name]["pid"])
        assert usable(up, name)


def test_a_version_that_does_not_start_replaces_nothing(up: Up) -> None:
    before = up.processes()
    broken = up.home / "broken"
    broken.touch()

    refused = up.cli("restart", "write-api", "scheduler", "gateway", "--json")

    broken.unlink()
    assert refused.returncode == 1
    assert "this version has a fault" in refused.stderr
    after = up.processes()
    changed = {name for name in after if after[name]["pid"] != before[name]["pid"]}
    assert changed == {"scheduler"}, "what comes after it in the order was left alone"
    assert usable(up, "write-api")
    assert after["write-api"]["restarts"] == before["write-api"]["restarts"]


@pytest.mark.parametrize(("name", "code"), [("postgres", 4), ("read-api-2", 2)])
def test_what_cannot_be_replaced_is_said(up: Up, name: str, code: int) -> None:
    refused = up.cli("restart", name)

    assert refused.returncode == code
    assert name in refused.stderr


def test_the_login_is_said_and_no_log_holds_it(up: Up) -> None:
    said = up.output.read_text()
    assert "ada@example.org  correct horse" in said
    assert "/ops  (ada@example.org may)" in said
    assert "/analytics" in said
    for log in (up.home / "log").iterdir():
        assert "correct horse" not in log.read_text(errors="replace")


def test_a_second_one_in_the_same_home_is_refused(up: Up) -> None:
    refused = up.cli("up")

    assert refused.returncode == 3
    assert f"already runs in {up.home} (process {up.process.pid})" in refused.stderr
    assert up.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_nothing_behind(number: int) -> None:
    with with_fake_roles(MINDSTREAM_WRITE_API_WORKERS="2") as up:
        up.start()
        assert {"write-api-1", "write-api-2"} <= set(up.processes())

        # An open event stream must not hold anything up.
        with urllib.request.urlopen(f"{up.gateway}/stream", timeout=10) as stream:
            stream.readline()
            assert up.stop(number) == 0

        assert "killing it" not in up.output.read_text()
        assert up.left() == []
        assert [path for path in up.home.rglob("*") if path.is_socket()] == []
        assert up.cli("services").returncode == 3


def test_a_stop_while_it_starts_leaves_nothing_behind() -> None:
    with with_fake_roles() as up:
        up.start(wait=False)
        wait_until((up.home / "pg" / "data").exists, what="it is starting")

        assert up.stop() == 0
        assert up.left() == []


def test_nothing_outlives_a_killed_supervisor_and_the_next_one_starts_well() -> None:
    with with_fake_roles() as up:
        up.start()
        up.process.kill()
        up.process.wait()
        up.start()

        assert usable(up, "postgres")
        assert usable(up, "write-api")
        assert up.stop() == 0
        assert up.left() == []


def test_a_taken_port_is_said_and_nothing_is_started() -> None:
    with with_fake_roles() as up, socket.socket() as taken:
        taken.bind(("127.0.0.1", up.port))
        taken.listen()

        refused = up.cli("up")

        assert refused.returncode == 3
        assert f"Port {up.port} is taken" in refused.stderr
        assert "MINDSTREAM_PORT" in refused.stderr
        assert up.left() == []


def test_a_role_that_cannot_start_ends_everything_with_its_log(tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\n"
        "sys.modules['bootstrap.wiring'] = types.ModuleType('bootstrap.wiring')\n"
    )
    with with_fake_roles() as up:
        up.env["PYTHONPATH"] = str(tmp_path)

        failed = up.cli("up")

        assert failed.returncode == 3
        assert "AttributeError" in failed.stderr
        assert up.left() == []


def test_a_home_with_a_long_path_gets_its_sockets_elsewhere() -> None:
    with with_fake_roles() as up:
        up.home = up.home.parent / ("long" * 40) / "home"
        up.env["MINDSTREAM_HOME"] = str(up.home)
        up.output.parent.mkdir(exist_ok=True)
        up.start()

        assert usable(up, "postgres")
        assert usable(up, "write-api")
        assert up.stop() == 0
        assert up.left() == []
