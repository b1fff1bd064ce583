from __future__ import annotations

import base64
from pathlib import Path

import pytest

from bootstrap import settings as subject
from bootstrap.settings import SettingsError, child_environment, describe, load


def test_defaults_need_nothing(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    found = load({})

    assert found.home == tmp_path / ".mindstream"
    assert (found.port, found.demo, found.write_dsn) == (8000, True, None)


def test_variables_win_over_the_file(tmp_path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = 9000\nlog_level = "debug"\ntrusted_proxies = ["10.0.0.0/8"]\n')

    found = load({"MINDSTREAM_CONFIG": str(file), "MINDSTREAM_PORT": "9001"})

    assert (found.port, found.log_level) == (9001, "debug")
    assert [str(network) for network in found.proxies] == ["10.0.0.0/8"]


def test_a_file_in_the_working_folder_is_found(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mindstream.toml").write_text("workers = 3\n")

    assert load({}).workers == 3


@pytest.mark.parametrize(
    ("text", "value"), [("0", False), ("1", True), ("no", False), ("True", True), ("off", False)]
)
def test_switches_read_as_people_write_them(text: str, value: bool) -> None:
    assert load({"MINDSTREAM_DEMO": text}).demo is value


def test_every_fault_is_named_at_once_and_no_value_is_repeated(tmp_path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("prot = 1\nworkers = 0\n")
    with pytest.raises(SettingsError) as refused:
        load(
            {
                "MINDSTREAM_CONFIG": str(file),
                "MINDSTREAM_PORT": "70000",
                "MINDSTREAM_DEMO": "perhaps",
                "MINDSTREAM_WRITE_DSN": "mysql://user:hunter2@host/db",
                "MINDSTREAM_MASTER_KEY": base64.b64encode(b"short-secret").decode(),
                "MINDSTREAM_TRUSTED_PROXIES": "10.0.0.0/8, nowhere",
                "MINDSTREAM_OPERATOR_EMAIL": "a@example.org",
                "MINDSTREAM_LOG_LEVEL": "loud",
                "MINDSTREAM_JWT_PRIVATE_KEY_FILE": str(tmp_path / "missing.pem"),
                "MINDSTREAM_WRITE_API_ADDRESS": "somewhere",
            }
        )

    text = str(refused.value)
    for named in (
        "prot: no such setting",
        "workers: expected a number >= 1",
        "MINDSTREAM_PORT: expected a number <= 65535",
        "MINDSTREAM_DEMO: expected true or false",
        "MINDSTREAM_WRITE_DSN: expected postgresql://",
        "MINDSTREAM_MASTER_KEY: expected the base64 of 32 bytes",
        "MINDSTREAM_TRUSTED_PROXIES: 'nowhere'",
        "MINDSTREAM_OPERATOR_PASSWORD",
        "MINDSTREAM_LOG_LEVEL: expected debug, info, warning or error",
        "MINDSTREAM_JWT_PRIVATE_KEY_FILE: no such file",
        "MINDSTREAM_WRITE_API_ADDRESS: expected unix:PATH or HOST:PORT",
    ):
        assert named in text
    assert "hunter2" not in text
    assert "c2hvcn" not in text


def test_several_processes_cannot_share_one_address() -> None:
    environ = {
        "MINDSTREAM_READ_API_WORKERS": "2",
        "MINDSTREAM_READ_API_ADDRESS": "127.0.0.1:9001",
    }
    with pytest.raises(SettingsError, match="READ_API_WORKERS: must be 1"):
        load(environ)


@pytest.mark.parametrize("name", ["GITHUB_CLIENT_ID", "OPERATOR_EMAIL"])
def test_what_means_nothing_alone_is_set_with_the_other(name: str) -> None:
    with pytest.raises(SettingsError, match=f"MINDSTREAM_{name}, .*: set both or neither"):
        load({f"MINDSTREAM_{name}": "x"})


def test_every_setting_is_documented_and_secrets_are_masked() -> None:
    key = base64.b64encode(bytes(32)).decode()
    fields = describe(
        load(
            {
                "MINDSTREAM_MASTER_KEY": key,
                "MINDSTREAM_WRITE_DSN": "postgresql://me:hunter2@host:5432/db?sslmode=require",
            }
        )
    )

    assert all(field.help and field.type for field in fields)
    by_name = {field.name: field.value for field in fields}
    assert by_name["master_key"] == subject.MASK
    assert by_name["write_dsn"] == f"postgresql://me:{subject.MASK}@host:5432/db?sslmode=require"


def test_a_child_gets_the_same_settings(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MINDSTREAM_PORT", "1")
    monkeypatch.setenv("MINDSTREAM_UNKNOWN", "kept")
    given = load(
        {},
        home=tmp_path,
        port=8123,
        demo=False,
        trusted_proxies=("10.0.0.0/8", "::1"),
        write_dsn="postgresql://w@/db?host=/run/pg",
    )

    environment = child_environment(given)

    assert load(environment) == given
    assert environment["MINDSTREAM_UNKNOWN"] == "kept"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("WRITE_DSN", "postgresql://[secret"),
        ("WRITE_DSN", "postgresql://me:secret@host:port/db"),
        ("WRITE_DSN", "postgresql://me:secret@host:65536/db"),
        ("READ_DSN", "postgresql://me:secret@host/db?nonsense=1"),
        ("OWNER_DSN", "postgres://me:secret%ZZ@host/db"),
        ("REDIS_URL", "redis://:secret@host:port/0"),
        ("SEARCH_URL", "https://me:secret@[host"),
        ("SMTP_URL", "smtp://me:secret@host:0"),
    ],
)
def test_addresses_that_cannot_be_read_are_told_and_not_repeated(variable: str, text: str) -> None:
    given = {"MINDSTREAM_WRITE_DSN": "postgresql://me@host/db", f"MINDSTREAM_{variable}": text}
    with pytest.raises(SettingsError, match=f"MINDSTREAM_{variable}: ") as caught:
        load(given)
    assert "secret" not in str(caught.value)
