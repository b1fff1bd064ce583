"""Register, read the letters, confirm, reset, log in: with nothing but a browser and a mailbox."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import signal
import stat
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.people import People, registration, token_of
from tests.support.servers import wait_until
from tests.support.upped import Up

NEW = "seven swans upon a lake"


def letters(up: Up, address: str, template: str) -> list[Path]:
    return [
        path
        for path in sorted((up.home / "mail").glob(f"*-{template}-*.eml"))
        if f"To: {address}\r\n".encode() in path.read_bytes()
    ]


def token(up: Up, address: str, template: str) -> str:
    wait_until(
        lambda: letters(up, address, template), seconds=10, what=f"a letter {template} is there"
    )
    raw = letters(up, address, template)[-1].read_bytes()
    part = email.message_from_bytes(raw, policy=email.policy.default).get_body(("plain",))
    assert part is not None
    found = re.search(r"token=([\w-]+)", part.get_content())
    assert found is not None
    return found[1]


@pytest.fixture
def address(anonymous: httpx.Client) -> str:
    made = f"{uuid.uuid4().hex}@example.org"
    answer = anonymous.post("/v1/auth/register", json=registration(made))
    assert answer.status_code == 201, answer.text
    return made


def test_from_registration_to_a_new_password(
    up: Up, people: People, anonymous: httpx.Client, address: str
) -> None:
    def post(path: str, body: Any) -> httpx.Response:
        return anonymous.post(f"/v1/auth/{path}", json=body)

    confirmed = post("verify-email", {"token": token(up, address, "verify_email")})
    assert confirmed.status_code == 200, confirmed.text
    before = people.log_in(address)
    assert before.profile["email_verified"] is True

    asked = post("request-password-reset", {"email": address})
    assert asked.status_code == 202
    body = {"token": token(up, address, "reset_password"), "password": NEW}
    changed = post("reset-password", body)
    assert changed.status_code == 200, changed.text
    assert post("reset-password", body).status_code == 422
    old = post("login", {"email": address, "password": registration(address)["password"]})
    assert old.status_code == 401
    after = people.log_in(address, NEW)
    assert after.id == before.id
    assert after.get("/v1/me", headers=token_of(changed)).status_code == 200
    wait_until(
        lambda: before.get("/v1/me").status_code == 401, seconds=3, what="the old login has ended"
    )
    wait_until(
        lambda: letters(up, address, "password_changed"), seconds=10, what="a letter says so"
    )


def test_letters_are_the_owners_alone_and_in_no_log(
    up: Up, anonymous: httpx.Client, address: str
) -> None:
    given = token(up, address, "verify_email")
    assert anonymous.post("/v1/auth/verify-email", json={"token": given}).status_code == 200
    for path in (up.home / "mail").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    logs = b"".join(path.read_bytes() for path in (up.home / "log").glob("*.log*"))
    assert b'"template":"verify_email"' in logs
    assert given.encode() not in logs
    assert address.encode() not in logs


def test_a_killed_worker_sends_each_letter_once(
    up: Up, anonymous: httpx.Client, people: People
) -> None:
    before = up.processes()["worker"]["restarts"]
    addresses = [f"{uuid.uuid4().hex}@example.org" for _ in range(12)]
    for number, one in enumerate(addresses):
        assert anonymous.post("/v1/auth/register", json=registration(one)).status_code == 201
        if number == 5:
            os.kill(up.processes()["worker"]["pid"], signal.SIGKILL)
    for one in addresses:
        token(up, one, "verify_email")
    assert up.processes()["worker"]["restarts"] == before + 1
    rebuilt = up.cli("projections", "rebuild", "accounts.people", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert [len(letters(up, one, "verify_email")) for one in addresses] == [1] * 12


def test_operators_see_and_pause_reactions(up: Up, people: People, anonymous: httpx.Client) -> None:
    operator = people.log_in(*OPERATOR)
    name = "accounts.verification_mail"

    def show() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(up.cli("reactions", "show", name, "--json").stdout)
        return found

    over_http = operator.get("/v1/ops/reactions").json()["data"]
    listed = json.loads(up.cli("reactions", "list", "--json").stdout)
    assert [each["name"] for each in listed] == [each["name"] for each in over_http]
    assert set(listed[0]) == set(over_http[0])
    assert name not in up.cli("projections", "list").stdout
    wait_until(lambda: show()["status"] == "live", seconds=10, what="it is live")

    assert up.cli("reactions", "pause", name).returncode == 0
    assert show()["status"] == "paused"
    one = f"{uuid.uuid4().hex}@example.org"
    anonymous.post("/v1/auth/register", json=registration(one))
    wait_until(
        lambda: operator.get(f"/v1/ops/reactions/{name}").json()["data"]["gap_events"] > 0,
        seconds=10,
        what="it stays behind",
    )
    assert letters(up, one, "verify_email") == []
    assert operator.get("/health/ready").status_code == 200
    assert up.cli("reactions", "resume", name).returncode == 0
    token(up, one, "verify_email")
    assert up.cli("reactions", "pause", "nothing").returncode == 2
    metrics = anonymous.get("/metrics").text
    assert f'mindstream_reaction_position{{process="worker",reaction="{name}"}}' in metrics
