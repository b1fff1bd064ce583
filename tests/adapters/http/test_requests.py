"""What clients say in headers and queries: conditions, tokens, keys, cursors, parameters."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http import idempotency
from adapters.http.addresses import Addresses, counted_as
from adapters.http.conditional import NEVER, etag, not_modified, required_version
from adapters.http.context import context_of, header
from adapters.http.cursors import Cursors
from adapters.http.fresh import position_of, token, wait_seconds
from adapters.http.problems import Problem
from adapters.http.responses import ok
from adapters.http.validation import DEFAULT_LIMIT, Limit, check, decode_body, limit_of, query
from tests.support.http_app import ANNA, FakeRequest

ANNA_ID = ANNA.user_id
BEN_ID = UUID(int=2)


def refusal(call: Callable[[], object]) -> Problem:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


def faults(call: Callable[[], object]) -> list[tuple[str, str]]:
    problem = refusal(call)
    assert problem.status == 422
    return [(fault.field, fault.code) for fault in problem.errors]


# Conditions


@pytest.mark.parametrize(
    ("sent", "version"),
    [
        ('"3"', 3),
        (' "3" ', 3),
        ("*", None),
        ('"3", "7","5"', 7),
        ('W/"3"', NEVER),
        ('W/"9", "4"', 4),
        ('"abc"', NEVER),
        ('"03"', NEVER),
        ('""', NEVER),
        ('"' + "9" * 40 + '"', NEVER),
    ],
)
def test_if_match_names_a_version(sent: str, version: int | None) -> None:
    assert required_version(FakeRequest(("If-Match", sent))) == version


@pytest.mark.parametrize("sent", ["3", "", '"3', 'w/"3"', '"3" "4"', '"3",,x'])
def test_a_malformed_if_match_is_400(sent: str) -> None:
    assert refusal(lambda: required_version(FakeRequest(("If-Match", sent)))).status == 400


def test_a_missing_if_match_is_428() -> None:
    problem = refusal(lambda: required_version(FakeRequest()))
    assert (problem.status, problem.code) == (428, "IF_MATCH_REQUIRED")


@pytest.mark.parametrize(
    ("sent", "same"),
    [
        ('"3"', True),
        ('W/"3"', True),
        ('"1", W/"3"', True),
        ("*", True),
        ('"4"', False),
        ("3", False),
        ('"3', False),
    ],
)
def test_if_none_match_compares_weakly(sent: str, same: bool) -> None:
    assert not_modified(FakeRequest(("If-None-Match", sent)), etag(3)) is same


def test_without_if_none_match_everything_is_new() -> None:
    assert not not_modified(FakeRequest(), etag(3))


def test_lines_of_a_repeated_header_are_joined() -> None:
    request = FakeRequest(("If-None-Match", '"1"'), ("If-None-Match", '"3"'))
    assert header(request, b"if-none-match") == '"1", "3"'
    assert not_modified(request, '"1"')
    assert not_modified(request, '"3"')


# Fresh reads


@given(st.integers(0, 2**63 - 1))
def test_a_token_stands_for_its_position(position: int) -> None:
    assert position_of(FakeRequest(("Consistency-Token", token(position)))) == position


def test_tokens_that_are_not_ours_are_400() -> None:
    good = token(42)
    flipped = good[:5] + ("A" if good[5] != "A" else "B") + good[6:]
    for bad in ("", "42", good[:-1], good + "A", flipped, "é" * 16, token(2**64 - 1)):
        problem = refusal(lambda sent=bad: position_of(FakeRequest(("Consistency-Token", sent))))
        assert (problem.status, problem.code) == (400, "INVALID_CONSISTENCY_TOKEN")


def test_without_a_token_there_is_no_position() -> None:
    assert position_of(FakeRequest()) is None


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (None, 2),
        ("wait=5", 5),
        ("wait=0", 0),
        ("wait=60", 10),
        ("return=minimal, Wait = 3; x=y", 3),
        ('wait="4"', 4),
        ("wait=-1", 2),
        ("wait=soon", 2),
        ("wait", 2),
    ],
)
def test_the_wait_is_bounded(sent: str | None, seconds: int) -> None:
    request = FakeRequest(*([("Prefer", sent)] if sent is not None else []))
    assert wait_seconds(request) == seconds


# Idempotency


@pytest.mark.parametrize("key", ["a", "a" * 255, "with space ~!", "018f2f2e-7c1e"])
def test_keys_are_printable(key: str) -> None:
    assert idempotency.key_of(FakeRequest(("Idempotency-Key", key))) == key


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        (["a" * 256], "too_long"),
        ([""], "too_short"),
        (["  "], "too_short"),
        (["tab\there"], "invalid_character"),
        (["é"], "invalid_character"),
        (["a", "b"], "invalid_format"),
    ],
)
def test_other_keys_are_refused(keys: list[str], code: str) -> None:
    request = FakeRequest(*(("Idempotency-Key", key) for key in keys))
    assert faults(lambda: idempotency.key_of(request)) == [("Idempotency-Key", code)]


def test_no_key_is_no_key() -> None:
    assert idempotency.key_of(FakeRequest()) is None


def test_the_hash_covers_every_part_apart() -> None:
    parts = [
        ("POST", "/a", b"", b"b"),
        ("PUT", "/a", b"", b"b"),
        ("POST", "/ab", b"", b""),
        ("POST", "/a", b"b", b""),
        ("POST", "/a", b"", b"c"),
    ]
    assert len({idempotency.request_hash(*part) for part in parts}) == len(parts)
    assert idempotency.request_hash(*parts[0]) == idempotency.request_hash(*parts[0])


def test_a_replay_is_the_first_answer_and_says_so() -> None:
    request = FakeRequest()
    first = ok(request, {"a": 1}, status=201, location="/v1/x/1", etag=1, token=5)
    again = idempotency.replay(idempotency.stored(first), token(5))
    assert again.status_code == 201
    assert again.body == first.body
    assert dict(again.raw_headers) == {
        **dict(first.raw_headers),
        b"idempotency-replayed": b"true",
    }


def test_keys_belong_to_principals_or_addresses() -> None:
    assert idempotency.principal_name(FakeRequest()) == str(ANNA_ID)
    assert idempotency.principal_name(FakeRequest(principal=None)) == "address:192.0.2.1"


# Cursors

SEALER = Cursors(b"a secret of sixteen bytes")
END = (datetime.date(2024, 5, 1), UUID(int=7))


def test_a_cursor_opens_where_it_was_made() -> None:
    cursor = SEALER.seal("/v1/e", ANNA_ID, END, ("happy", "-date"))
    kind = tuple[datetime.date, UUID]
    assert SEALER.open("/v1/e", ANNA_ID, cursor, ("happy", "-date"), kind) == END


def test_a_cursor_opens_nowhere_else() -> None:
    cursor = SEALER.seal("/v1/e", ANNA_ID, END, ("happy",))
    other = Cursors(b"another secret of sixteen")
    attempts: list[Callable[[], Any]] = [
        lambda: SEALER.open("/v1/f", ANNA_ID, cursor, ("happy",)),
        lambda: SEALER.open("/v1/e", BEN_ID, cursor, ("happy",)),
        lambda: SEALER.open("/v1/e", ANNA_ID, cursor, ("sad",)),
        lambda: SEALER.open("/v1/e", ANNA_ID, cursor),
        lambda: other.open("/v1/e", ANNA_ID, cursor, ("happy",)),
        lambda: SEALER.open("/v1/e", ANNA_ID, cursor + "=", ("happy",)),
        lambda: SEALER.open("/v1/e", ANNA_ID, "", ("happy",)),
        lambda: SEALER.open("/v1/e", ANNA_ID, "é", ("happy",)),
        lambda: SEALER.open("/v1/e", ANNA_ID, "a" * 5000, ("happy",)),
    ]
    for attempt in attempts:
        problem = refusal(attempt)
        assert problem.code == "INVALID_CURSOR"
        assert faults(attempt) == [("cursor", "invalid_format")]


@given(st.integers(0, 200), st.text(min_size=1, max_size=1))
def test_a_changed_cursor_opens_nowhere(at: int, letter: str) -> None:
    cursor = SEALER.seal("/v1/e", ANNA_ID, END)
    at %= len(cursor)
    changed = cursor[:at] + letter + cursor[at + 1 :]
    if changed != cursor:
        assert refusal(lambda: SEALER.open("/v1/e", ANNA_ID, changed)).code == "INVALID_CURSOR"


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Cursors(b"short")


# Parameters


class Mood(enum.Enum):
    HAPPY = "happy"
    SAD = "sad"


class Entries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date_from: datetime.date | None = None
    mood: Mood | None = None
    tag: tuple[str, ...] = ()
    level: tuple[int, ...] = ()
    is_private: bool | None = None
    sort: Literal["date", "-date"] = "-date"
    ratio: float | None = None
    year: Literal[2023, 2024] | None = None
    limit: Limit = DEFAULT_LIMIT


def asked(text: str | bytes) -> Entries:
    return query(FakeRequest(query=text), Entries)


def test_parameters_become_a_struct() -> None:
    assert asked("") == Entries()
    text = (
        "date_from=2024-05-01&mood=happy&tag=a&tag=b%26c&is_private=false&sort=date&limit=7"
        "&level=1&level=-2&ratio=0.5&year=2024"
    )
    assert asked(text) == Entries(
        date_from=datetime.date(2024, 5, 1),
        mood=Mood.HAPPY,
        tag=("a", "b&c"),
        level=(1, -2),
        is_private=False,
        sort="date",
        ratio=0.5,
        year=2024,
        limit=7,
    )
    assert asked("tag=" + "x" * 300).tag == ("x" * 300,)
    assert asked(text) is asked(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limit=0", ("limit", "too_small")),
        ("limit=101", ("limit", "too_large")),
        ("limit=ten", ("limit", "invalid_format")),
        ("limit=", ("limit", "invalid_format")),
        ("limit=1.0", ("limit", "invalid_format")),
        ("limit=\N{ARABIC-INDIC DIGIT TWO}".encode(), ("limit", "invalid_format")),
        ("limit=" + "9" * 30, ("limit", "invalid_format")),
        ("limit=1&limit=2", ("limit", "invalid_format")),
        ("mood=glad", ("mood", "not_allowed")),
        ("sort=title", ("sort", "not_allowed")),
        ("year=1999", ("year", "invalid_format")),
        ("is_private=yes", ("is_private", "invalid_format")),
        ("date_from=2024-13-01", ("date_from", "invalid_format")),
        ("level=1&level=x", ("level.1", "invalid_format")),
        ("page=2", ("page", "unknown_field")),
        ("tag=%00", ("tag.0", "invalid_character")),
        ("tag=%ff", ("tag.0", "invalid_character")),
    ],
)
def test_each_wrong_parameter_is_named(text: str | bytes, expected: tuple[str, str]) -> None:
    assert faults(lambda: asked(text)) == [expected]


def test_all_wrong_parameters_are_named_at_once() -> None:
    assert faults(lambda: asked("limit=0&mood=x&zip=1&sort=date&sort=date")) == [
        ("sort", "invalid_format"),
        ("limit", "too_small"),
        ("mood", "not_allowed"),
        ("zip", "unknown_field"),
    ]


def test_endless_parameters_are_refused() -> None:
    assert refusal(lambda: asked("&".join(["tag=a"] * 2000))).status == 400


@given(st.binary(max_size=60))
def test_any_query_is_sound_or_a_problem(raw: bytes) -> None:
    try:
        query(FakeRequest(query=raw), Entries)
    except Problem as problem:
        assert problem.status in (400, 422)  # noqa: PT017


def test_limit_alone() -> None:
    assert limit_of(FakeRequest()) == 20
    assert limit_of(FakeRequest(query="x=1&limit=100")) == 100
    assert faults(lambda: limit_of(FakeRequest(query="limit=0"))) == [("limit", "too_small")]
    assert faults(lambda: limit_of(FakeRequest(query="limit=101"))) == [("limit", "too_large")]
    assert faults(lambda: limit_of(FakeRequest(query="limit=x"))) == [("limit", "invalid_format")]


# Bodies


@given(st.binary(), st.sampled_from([None, "application/json", b"application/json", "text/x", ""]))
def test_any_body_is_sound_or_a_problem(raw: bytes, kind: str | bytes | None) -> None:
    try:
        decode_body(raw, kind, Entries)
    except Problem as problem:
        assert problem.status in (400, 415, 422)  # noqa: PT017


@given(
    st.builds(
        Entries,
        date_from=st.none() | st.dates(),
        mood=st.none() | st.sampled_from(Mood),
        tag=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"))).map(tuple),
        is_private=st.none() | st.booleans(),
        limit=st.integers(1, 100),
    )
)
def test_what_is_written_is_read_again(entries: Entries) -> None:
    raw = msgspec.json.encode(entries)
    assert decode_body(raw, "application/json", Entries) == entries
    assert check(msgspec.json.decode(raw), Entries) == entries


def test_a_malformed_body_names_the_byte() -> None:
    problem = refusal(lambda: decode_body(b'{"limit":5,}', "application/json", Entries))
    assert problem.extra == {"offset": 11}
    assert "byte 11" in problem.detail


# Addresses


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ([], "192.0.2.1", None, "192.0.2.1"),
        ([], "192.0.2.1", b"203.0.113.9", "192.0.2.1"),
        (["192.0.2.1"], "192.0.2.1", b"203.0.113.9", "203.0.113.9"),
        (["192.0.2.1"], "192.0.2.1", b"1.1.1.1, 203.0.113.9", "203.0.113.9"),
        (["192.0.2.0/24"], "192.0.2.1", b"203.0.113.9, 192.0.2.7", "203.0.113.9"),
        (["192.0.2.1"], "192.0.2.1", b"nonsense", "192.0.2.1"),
        (["192.0.2.1"], "192.0.2.1", b"", "192.0.2.1"),
        (["unix"], None, b"203.0.113.9", "203.0.113.9"),
        (["unix"], "", b"[2001:db8::1]:443", "2001:db8::1"),
        (["unix"], None, b"203.0.113.9:8080", "203.0.113.9"),
        (["unix"], None, b"::ffff:203.0.113.9", "203.0.113.9"),
        ([], None, b"203.0.113.9", None),
    ],
)
def test_whose_address_counts(
    proxies: list[str], peer: str | None, forwarded: bytes | None, client: str | None
) -> None:
    assert Addresses(proxies).of(peer, forwarded) == client


def test_an_ipv6_client_is_its_network() -> None:
    assert counted_as("2001:db8::1") == counted_as("2001:db8::2") == "2001:db8::/64"
    assert counted_as("192.0.2.1") == "192.0.2.1"
    assert counted_as(None) == "local"
    assert counted_as("/run/sock") == "local"


def test_a_context_is_made_where_there_is_none() -> None:
    request = FakeRequest(("X-Request-Id", "req_given1"), ("User-Agent", "x" * 300))
    del request.scope["mindstream"]
    context = context_of(request)
    assert context.request_id == "req_given1"
    assert context.user_agent == "x" * 256
    assert context.client_version is None
    assert context is context_of(request)
