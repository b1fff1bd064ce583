"""Schemathesis against the served OpenAPI document: no 5xx, no open door, answers as documented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from tests.support.people import People, Person
from tests.support.upped import Up

load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "ignored_auth",
    ]
)
EXAMPLES = 12
"""For each operation."""


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: schemathesis.SerializationContext, value: object) -> bytes:
    """Any text stands for itself."""
    return str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def fuzzed(people: People) -> Person:
    return people.new()


@pytest.fixture(scope="module")
def known(fuzzed: Person) -> dict[str, list[str]]:
    """Ids that lead somewhere, by the parameter's name."""
    written = [fuzzed.write(f"2024-01-{day:02}", tags=["some"]) for day in range(1, 21)]
    return {
        "entry_id": [answer.json()["data"]["id"] for answer in written],
        "operation_id": [fuzzed.begin_import(b"").rsplit("/", 1)[1]],
    }


@pytest.mark.timeout(300)
def test_answers_are_as_documented(
    up: Up, fuzzed: Person, known: dict[str, list[str]], subtests: pytest.Subtests
) -> None:
    document = schemathesis.openapi.from_url(f"{up.gateway}/schema/openapi.json")
    # A logout would end the login that the others need, and an erasure everything else; a stream
    # does not end by itself.
    chosen = document
    for path in ("/v1/auth/logout", "/v1/me/erasure", "/v1/stream"):
        chosen = chosen.exclude(path=path)
    operations = [found.ok() for found in chosen.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        with subtests.test(operation.label):

            @given(case=operation.as_strategy(), pick=st.integers(0, 39))
            @settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def holds(case: schemathesis.Case, pick: int) -> None:
                for name in known.keys() & (case.path_parameters or {}).keys():
                    if pick < 20:  # else the made-up id, which is nobody's
                        case.path_parameters[name] = known[name][pick % len(known[name])]
                case.call_and_validate(
                    checks=CHECKED, headers={"Authorization": fuzzed.authorization}
                )

            holds()
