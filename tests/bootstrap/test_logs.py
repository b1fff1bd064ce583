"""Logs have the shape that was agreed, and nothing private, whoever writes them."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
import structlog

from bootstrap import logs
from tests.support.servers import Database, Servers
from tests.support.waiting import eventually

CANARY = "canaryword"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnl3b3JkIn0.c2lnbmF0dXJl"


class Written:
    """What was logged, as lines of JSON."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def only(self) -> Any:
        [line] = self.lines()
        return line


@pytest.fixture
def written() -> Iterator[Written]:
    root = logging.getLogger()
    kept = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    found = Written()
    logs.configure("debug", "write-api-2", found.stream)
    yield found
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = kept
    structlog.reset_defaults()


def test_a_line_has_the_agreed_fields(written: Written) -> None:
    user = uuid4()
    structlog.get_logger("x").warning(
        "import_interrupted", request_id="req_1", user_id=user, duration_ms=12.5, count=3
    )
    line = written.only()
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["service"]) == ("WARN", "write-api")
    assert (line["message"], line["duration"]) == ("import_interrupted", 12.5)
    assert line["pod"] == "write-api-2"
    assert line["node"]
    context = line["context"]
    assert (context["request_id"], context["user_id"]) == ("req_1", str(user))
    assert context["count"] == 3
    assert context["function"] == "test_a_line_has_the_agreed_fields"
    assert isinstance(context["line"], int)


@pytest.mark.parametrize("name", ["content", "title", "email", "password", "body", "anything"])
def test_text_passes_only_under_a_known_name(written: Written, name: str) -> None:
    structlog.get_logger("x").info("noted", **{name: CANARY})
    assert written.only()["context"][name] == logs.MASKED


def test_names_of_streams_and_letters_are_told_whole(written: Written) -> None:
    stream, letter = f"accounts.person-{uuid4()}", f"<{uuid4()}@mail.example.org>"
    structlog.get_logger("x").info("noted", stream_id=stream, message_id=letter)
    context = written.only()["context"]
    assert (context["stream_id"], context["message_id"]) == (stream, letter)


def test_what_is_nested_is_masked_alike(written: Written) -> None:
    entry = {"title": CANARY, "tags": [CANARY], "words": 3, "reason": "Timeout"}
    structlog.get_logger("x").info("noted", entry=entry, reason=[CANARY.encode()], thing=object())
    line = written.only()
    assert line["context"]["entry"] == {
        "title": logs.MASKED, "tags": logs.MASKED, "words": 3, "reason": "Timeout",
    }  # fmt: skip
    assert CANARY not in json.dumps(line)


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        f"Bearer {CANARY}",
        f"{CANARY}@example.org",
        f"password={CANARY}",
        f'"refresh_token": "{CANARY} {CANARY}"',
        f"X-API-Key: {CANARY}",
        f"Cookie: {CANARY}",
        f"postgresql://owner:{CANARY}@host/db",
        CANARY + "a" * 40,
    ],
)
def test_marks_of_secrets_are_masked_in_whatever_passes(written: Written, secret: str) -> None:
    structlog.get_logger("x").info(f"went wrong with {secret} here", reason=secret)
    logging.getLogger("mindstream.http").error("oh: %s", secret, extra={"route": secret})
    for line in written.lines():
        assert CANARY not in json.dumps(line)
        assert "eyJhbG" not in json.dumps(line)


def test_a_librarys_message_loses_what_it_was_about(written: Written) -> None:
    logging.getLogger("dramatiq.worker").error("Failed to process %s after %d tries", CANARY, 3)
    logging.getLogger("aiohttp.server").error("Error with %(what)s", {"what": CANARY})
    first, second = written.lines()
    assert first["message"] == f"Failed to process {logs.MASKED} after 3 tries"
    assert second["message"] == f"Error with {logs.MASKED}"


def raised(kind: str) -> None:
    if kind == "database":
        raise psycopg.errors.UniqueViolation(f"Key (email)=({CANARY}) already exists.")
    if kind == "validation":
        msgspec.json.decode(f'{{"{CANARY}": }}')
    if kind == "key":
        {}[CANARY]
    raise ValueError(CANARY)


@pytest.mark.parametrize("kind", ["database", "validation", "key", "value"])
def test_an_exception_tells_its_type_and_place_but_not_its_text(
    written: Written, kind: str
) -> None:
    try:
        raised(kind)
    except Exception:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("some.library").exception("failed")
    for line in written.lines():
        assert line["level"] == "ERROR"
        assert line["error"]["name"]
        assert "in raised" in line["error"]["stack"] or " raised" in line["error"]["stack"]
        assert CANARY not in json.dumps(line)


def test_an_exception_of_code_says_what_it_has_to_say(written: Written) -> None:
    try:
        raise RuntimeError("the index is gone")
    except RuntimeError as error:
        structlog.get_logger("x").error("failed", exc_info=error)
    assert written.only()["error"]["message"] == "the index is gone"


def test_what_nobody_catches_is_told_without_its_text(written: Written) -> None:
    thread = threading.Thread(target=raised, args=("value",))
    thread.start()
    thread.join()
    try:
        raised("value")
    except ValueError:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    for line in written.lines():
        assert (line["level"], line["message"]) == ("FATAL", "uncaught")
        assert line["error"]["name"] == "builtins.ValueError"
        assert CANARY not in json.dumps(line)
    assert len(written.lines()) == 2


def test_postgresqls_own_log_quotes_no_row(servers: Servers, database: Database) -> None:
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE noted (text text PRIMARY KEY)")
        connection.execute("INSERT INTO noted VALUES (%s)", (CANARY,))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO noted VALUES (%s)", (CANARY,))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(f"INSERT INTO noted VALUES ('{CANARY}')")
    log = servers.places.log / "postgres.log"
    eventually(lambda: "noted_pkey" in log.read_text())
    assert CANARY not in log.read_text()
