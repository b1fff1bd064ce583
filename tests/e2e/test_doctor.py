from __future__ import annotations

import json

from tests.support.people import Person
from tests.support.servers import wait_until
from tests.support.upped import Up


def test_doctor_finds_a_running_system_well(up: Up, person: Person) -> None:
    def caught_up() -> bool:
        listed = json.loads(up.cli("projections", "list", "--json").stdout)
        return all(each["status"] == "live" for each in listed)

    # The tests before this one have written years of diaries.
    wait_until(caught_up, seconds=120, what="all projections are live")

    said = up.cli("doctor", "--json")

    findings = {found["check"]: found for found in json.loads(said.stdout)}
    assert said.returncode == 0, said.stdout
    assert {"python", "settings", "disk", "port", "services", "write_dsn", "read_dsn",
            "migrations", "clock", "redis_url", "master key", "operations", "files", "mail",
            "durability", "access", "gateway"} <= set(findings)  # fmt: skip
    # The events of this person are sealed with a key that the master key opens.
    assert findings["master key"]["state"] == "ok"
    for found in findings.values():
        assert (found["state"] == "ok") == ("remedy" not in found)
