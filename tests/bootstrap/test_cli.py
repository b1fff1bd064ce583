from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psutil
import psycopg
import pytest
import redis
import typer
from eventsourcing.persistence import OperationalError as PersistenceUnreachable
from typer.testing import CliRunner

from bootstrap import cli
from bootstrap.services import connected
from bootstrap.settings import Settings, load, variables
from domain.operation import Operation
from tests.support.upped import Up, with_fake_roles


def test_help_documents_the_exit_codes(up: Up) -> None:
    said = up.cli("--help")

    assert said.returncode == 0
    assert "Exit codes:" in said.stdout
    for command in ("up", "run", "services", "psql", "migrate", "doctor", "config"):
        assert command in said.stdout


def test_wrong_settings_end_with_2_and_one_message(up: Up) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli", "config", "show"],
        env={**up.env, "MINDSTREAM_PORT": "x", "MINDSTREAM_WORKERS": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 2
    assert "MINDSTREAM_PORT" in said.stderr
    assert "MINDSTREAM_WORKERS" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.OperationalError("refused"), "The database does not answer: refused"),
        (PersistenceUnreachable("refused"), "The database does not answer: refused"),
        (redis.ConnectionError("refused"), "Redis does not answer: refused"),
    ],
)
def test_whatever_cannot_be_reached_ends_any_command_with_3(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "build", lambda: app)
    monkeypatch.setattr(sys, "argv", ["mindstream"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize(
    ("answer", "code"), [("y", 0), ("n", 4), (KeyboardInterrupt, 130), (EOFError, 4)]
)
def test_a_question_says_what_it_asks_and_an_interrupted_one_is_a_no(
    answer: str | type[BaseException],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def asked(prompt: str) -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(f"{typer.confirm.__module__}.visible_prompt_func", asked)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    try:
        cli.confirm("Lose it?", yes=False)
        ended = 0
    except typer.Exit as left:
        ended = left.exit_code
    assert ended == code
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(typer.Exit) as refused:
        cli.confirm("Lose it?", yes=False)
    assert refused.value.exit_code == 4
    assert "Lose it? Nothing was done; --yes says yes to it." in capsys.readouterr().err


def test_up_says_which_settings_are_none_and_that_a_file_is_no_home(up: Up, tmp_path) -> None:
    home = tmp_path / "file"
    home.touch()
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli", "up"],
        env={**up.env, "MINDSTREAM_HOME": str(home), "MINDSTREAM_PROT": "8760"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 3
    assert said.stderr.splitlines() == [
        "No such setting: MINDSTREAM_PROT (MINDSTREAM_PORT?)",
        f"{home} is no folder: set MINDSTREAM_HOME to one",
    ]


@pytest.mark.parametrize("words", [("psql",), ("migrate",), ("services",), ("restart",)])
def test_where_nothing_runs_it_is_said_what_would_help(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    for variable in variables():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MINDSTREAM_HOME", str(tmp_path))
    said = CliRunner().invoke(cli.build(), words)

    assert said.exit_code == 3
    helps = f"Nothing runs in {tmp_path}: start `mindstream up` there"
    owner = ", or set MINDSTREAM_OWNER_DSN" if words[0] in ("psql", "migrate") else ""
    assert said.stderr == f"{helps}{owner}\n"


def test_an_import_that_nobody_waits_for_any_more_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    job = UUID(int=7)

    async def interrupted(_: Any, path: Any, user: str, tell: Callable[[Operation], None]) -> None:
        tell(
            Operation(
                id=job,
                kind="journal.import",
                state="pending",
                progress=0,
                eta_seconds=None,
                detail=None,
                result=None,
                error=None,
                created_at=datetime.now(UTC),
                finished_at=None,
            )
        )
        raise KeyboardInterrupt

    monkeypatch.setattr("bootstrap.wiring.import_diary", interrupted)
    monkeypatch.setattr(cli, "settings", lambda **_: None)
    (tmp_path / "diary.jsonl").touch()
    words = ("import", "journal", str(tmp_path / "diary.jsonl"), "--user", "ada@example.org")
    said = CliRunner().invoke(cli.build(), words)

    assert said.exit_code == 130
    assert f"as operation {job}; `mindstream jobs wait {job}`" in said.stderr


def test_a_restart_that_nobody_waits_for_any_more_says_that_it_goes_on(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("bootstrap.rolling.ask", interrupted)
    monkeypatch.setenv("MINDSTREAM_HOME", str(up.home))
    said = CliRunner().invoke(cli.build(), ("restart",))

    assert said.exit_code == 130
    assert "It goes on without you" in said.stderr


def test_config_show_names_every_setting(up: Up) -> None:
    shown = up.cli("config", "show")
    as_json = json.loads(up.cli("config", "show", "--json").stdout)

    assert {field["name"] for field in as_json} == set(Settings.__struct_fields__)
    assert json.loads(up.cli("config", "--json").stdout) == as_json
    for field in as_json:
        assert field["variable"] in shown.stdout


def test_services_in_json_are_settings_for_another_home(up: Up, tmp_path) -> None:
    services = json.loads(up.cli("services", "--json").stdout)
    assert services == up.services()
    found = connected(
        load(
            {
                "MINDSTREAM_HOME": str(tmp_path),
                "MINDSTREAM_WRITE_DSN": services["write_dsn"],
                "MINDSTREAM_READ_DSN": services["read_dsn"],
                "MINDSTREAM_REDIS_URL": services["redis_url"],
            }
        )
    )
    with psycopg.connect(found.read_dsn or "") as connection:
        assert connection.execute("SELECT CURRENT_USER").fetchone() == ("mindstream_read",)


def test_services_as_text_hide_the_password(up: Up) -> None:
    said = up.cli("services")

    password = up.services()["redis_url"].split(":")[2].split("@")[0]
    assert "valkey" in said.stdout
    assert password not in said.stdout


def test_psql_reads_sql_from_standard_input_as_the_owner(up: Up) -> None:
    said = up.cli(
        "psql",
        "-At",
        given="SELECT CURRENT_USER, rolsuper FROM pg_roles WHERE rolname = CURRENT_USER;\n",
    )

    assert (said.returncode, said.stdout) == (0, "mindstream|t\n")
    assert up.cli("psql", given="SELECT nonsense;\n").returncode == 3


def test_migrate_says_how_far_it_is(up: Up) -> None:
    status = json.loads(up.cli("migrate", "--status", "--json").stdout)

    assert status[0] == {"version": "0001", "name": "roles", "applied": True}
    assert up.cli("migrate").stdout == "nothing to do\n"
    refused = up.cli("migrate", "down")
    assert refused.returncode == 4
    assert "would undo" in up.cli("migrate", "down", "--dry-run").stdout


def test_doctor_names_what_is_wrong_and_fails(up: Up, tmp_path) -> None:
    up_env = {
        **up.env,
        "MINDSTREAM_HOME": str(tmp_path),
        "MINDSTREAM_WRITE_DSN": "postgresql://nobody@127.0.0.1:1/none",
        "MINDSTREAM_REDIS_URL": "redis://127.0.0.1:1/0",
        "MINDSTREAM_RATELIMIT": "5",
    }
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli", "doctor", "--json"],
        env=up_env,
        capture_output=True,
        text=True,
        check=False,
    )

    findings = {found["check"]: found for found in json.loads(said.stdout)}
    assert said.returncode == 1
    assert findings["write_dsn"]["state"] == "failed"
    assert findings["redis_url"]["state"] == "failed"
    assert findings["settings"] == {
        "check": "settings",
        "state": "warning",
        "detail": "no such settings: MINDSTREAM_RATELIMIT",
        "remedy": "`mindstream config show` lists those there are",
    }
    assert findings["port"]["state"] == "failed"


def test_a_role_without_servers_says_what_to_do(up: Up, tmp_path) -> None:
    env = {**up.env, "MINDSTREAM_HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-m", "bootstrap.cli", "run", "projector"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 3
    assert "start `mindstream up` there, or set MINDSTREAM_WRITE_DSN" in said.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_can_run_it() -> None:
    account = pwd.getpwnam("nobody")
    with with_fake_roles() as up:
        os.chown(up.home.parent, account.pw_uid, account.pw_gid)
        up.account = (account.pw_uid, account.pw_gid)
        try:
            up.start()
        except PermissionError as error:
            pytest.skip(f"an ordinary user cannot reach {error.filename}")
        assert psutil.Process(up.processes()["postgres"]["pid"]).username() == "nobody"
        assert up.stop() == 0
        assert up.left() == []
