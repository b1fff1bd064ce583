from __future__ import annotations

import datetime
import enum
import json
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.validation import Malformed, check, decode, is_fast
from commands.value_checks import MAX_FAULTS
from domain.faults import Fault, Invalid

Short = Annotated[str, msgspec.Meta(min_length=1, max_length=3)]


class Mood(enum.Enum):
    HAPPY = "happy"
    SAD = "sad"


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Short
    floor: int = 0


class Cat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="cat"):
    lives: int


class Dog(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="dog"):
    name: Short


class Everything(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: Short
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    ratio: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    step: Annotated[int, msgspec.Meta(multiple_of=5)] = 5
    sure: bool = False
    tags: Annotated[tuple[Short, ...], msgspec.Meta(max_length=2)] = ()
    pair: tuple[int, str] | None = None
    mood: Mood | None = None
    size: Literal["s", "l"] | msgspec.UnsetType = msgspec.UNSET
    day: datetime.date | None = None
    at: Annotated[datetime.datetime, msgspec.Meta(tz=True)] | None = None
    id: UUID | None = None
    place: Place | None = None
    pet: Cat | Dog | None = None
    labels: dict[str, int] = {}
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")] | None = None
    either: int | str | None = None
    anything: Any = None


class Loose(msgspec.Struct, frozen=True):
    a: int = 0


class Even(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("odd")


class Holder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: list[Even]


class Tree(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    children: tuple[Tree, ...] = ()


def faults(raw: bytes | dict[str, Any], kind: type = Everything) -> list[tuple[str, str]]:
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(Invalid) as caught:
        decode(data, kind)
    return [(fault.field, fault.code) for fault in caught.value.faults]


def test_a_sound_input_is_decoded() -> None:
    raw = b'{"title":"abc","tags":["a"],"day":"2024-02-29","pet":{"kind":"dog","name":"Rex"}}'
    assert is_fast(Everything)
    decoded = decode(raw, Everything)
    assert decoded == Everything(
        title="abc", tags=("a",), day=datetime.date(2024, 2, 29), pet=Dog(name="Rex")
    )
    assert check(json.loads(raw), Everything) == decoded


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": ""}, ("title", "too_short")),
        ({"title": "abcd"}, ("title", "too_long")),
        ({"title": None}, ("title", "wrong_type")),
        ({"title": 1}, ("title", "wrong_type")),
        ({"count": 0}, ("count", "too_small")),
        ({"count": 10}, ("count", "too_large")),
        ({"count": 1.0}, ("count", "wrong_type")),
        ({"count": True}, ("count", "wrong_type")),
        ({"count": "1"}, ("count", "wrong_type")),
        ({"ratio": 0}, ("ratio", "too_small")),
        ({"ratio": 1}, ("ratio", "too_large")),
        ({"step": 7}, ("step", "invalid_format")),
        ({"sure": 1}, ("sure", "wrong_type")),
        ({"sure": "true"}, ("sure", "wrong_type")),
        ({"tags": ["a", "b", "c"]}, ("tags", "too_long")),
        ({"tags": ["a", "long!"]}, ("tags.1", "too_long")),
        ({"tags": None}, ("tags", "wrong_type")),
        ({"tags": "a"}, ("tags", "wrong_type")),
        ({"pair": [1]}, ("pair", "too_short")),
        ({"pair": [1, 2]}, ("pair.1", "wrong_type")),
        ({"mood": "glad"}, ("mood", "not_allowed")),
        ({"mood": 1}, ("mood", "wrong_type")),
        ({"size": "m"}, ("size", "not_allowed")),
        ({"size": None}, ("size", "wrong_type")),
        ({"day": "2023-02-29"}, ("day", "invalid_format")),
        ({"day": 5}, ("day", "wrong_type")),
        ({"at": "2024-01-01T00:00:00"}, ("at", "invalid_format")),
        ({"id": "x"}, ("id", "invalid_format")),
        ({"place": {}}, ("place.name", "required")),
        ({"place": {"name": "a", "roof": 1}}, ("place.roof", "unknown_field")),
        ({"place": []}, ("place", "wrong_type")),
        ({"pet": {"lives": 9}}, ("pet.kind", "required")),
        ({"pet": {"kind": "cow"}}, ("pet.kind", "not_allowed")),
        ({"pet": {"kind": ["cat"]}}, ("pet.kind", "wrong_type")),
        ({"pet": {"kind": "cat"}}, ("pet.lives", "required")),
        ({"labels": {"a": "b"}}, ("labels.a", "wrong_type")),
        ({"code": "A"}, ("code", "invalid_format")),
        ({"either": 1.5}, ("either", "wrong_type")),
        ({"extra": 1}, ("extra", "unknown_field")),
        ({"title": "a\0"}, ("title", "invalid_character")),
        ({"title": "a\ud800"}, ("title", "invalid_character")),
        ({"mood": "\0"}, ("mood", "invalid_character")),
        ({"day": "\0"}, ("day", "invalid_character")),
        ({"labels": {"a\0": 1}}, ("labels.a\N{REPLACEMENT CHARACTER}", "invalid_character")),
        ({"anything": [{"deep": "\udfff"}]}, ("anything.0.deep", "invalid_character")),
        ({"anything": {"\0": 1}}, ("anything.\N{REPLACEMENT CHARACTER}", "invalid_character")),
        ({"either": "\0"}, ("either", "invalid_character")),
    ],
)
def test_each_rule_has_its_code(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert faults({"title": "abc", **changes}) == [expected]


def test_all_faults_are_found_at_once() -> None:
    found = faults({"count": 0, "tags": ["", "ok", "long!"], "place": {"floor": "1"}, "x": 1})
    assert found == [
        ("count", "too_small"),
        ("tags", "too_long"),
        ("tags.0", "too_short"),
        ("tags.2", "too_long"),
        ("place.floor", "wrong_type"),
        ("place.name", "required"),
        ("x", "unknown_field"),
        ("title", "required"),
    ]


def test_choices_are_listed_and_the_value_is_not_repeated() -> None:
    with pytest.raises(Invalid) as caught:
        decode(b'{"title":"abc","mood":"secret"}', Everything)
    assert caught.value.faults == (
        Fault("mood", "not_allowed", "This must be one of: happy, sad."),
    )


def test_unknown_names_are_checked_and_shown_safely() -> None:
    assert faults(b'{"title":"abc","a\\u0000":1}') == [
        ("a\N{REPLACEMENT CHARACTER}", "invalid_character")
    ]
    assert faults(b'{"title":"abc","a\\ud800":1}') == [
        ("a\N{REPLACEMENT CHARACTER}", "invalid_character")
    ]
    (only,) = faults({"title": "abc", "y" * 500: 1})
    assert len(only[0]) == 100


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert (
        decode(rb'{"title":"a","code":null,"anything":"\\u0000"}', Everything).anything == r"\u0000"
    )


def test_numbers_out_of_range_are_faults() -> None:
    assert faults(b'{"title":"abc","ratio":1e999}') == [("ratio", "too_large")]
    assert faults(b'{"title":"abc","anything":1e999}') == [("anything", "too_large")]
    assert faults(b'{"title":"abc","count":' + b"9" * 5000 + b"}") == [("count", "too_large")]


def test_unknown_fields_are_refused_even_where_the_type_forgot_to_say_so() -> None:
    assert not is_fast(Loose)
    assert decode(b'{"a":1}', Loose) == Loose(1)
    assert faults(b'{"a":1,"b":2}', Loose) == [("b", "unknown_field")]


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"1", b"true"])
def test_what_is_no_object_is_one_fault(raw: bytes) -> None:
    assert faults(raw) == [("", "wrong_type")]


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"", 0),
        (b"  ", 0),
        (b'{"title":"abc",}', 15),
        (b'{"title":"\xff"}', 10),
        (b'{"title":"\xed\xa0\x80"}', 10),
        (b'{"title":NaN}', 9),
        (b'{"ratio":Infinity}', 9),
        (b'{"title":"abc"} x', 17),
        (b'\xef\xbb\xbf{"title":"abc"}', 0),
        (b'{"title":"\x00"}', 10),
        (b'{"title":"abc', 9),
    ],
)
def test_what_is_no_json_is_malformed(raw: bytes, offset: int) -> None:
    with pytest.raises(Malformed) as caught:
        decode(raw, Everything)
    assert caught.value.offset == offset


def test_malformed_comes_before_invalid() -> None:
    with pytest.raises(Malformed):
        decode(b'{"title":5,"x":', Everything)


@pytest.mark.parametrize("text", ["[", '{"a":', '{"children":['])
def test_deep_nesting_is_malformed_and_nothing_worse(text: str) -> None:
    for raw in (text.encode() * 100_000, b'{"title":"\\ud800","anything":' + b"[" * 100_000):
        with pytest.raises(Malformed):
            decode(raw, Tree)


def test_types_may_contain_themselves() -> None:
    assert decode(b'{"children":[{"children":[]}]}', Tree) == Tree((Tree(),))
    assert faults(b'{"children":[{"children":[{"x":1}]}]}', Tree) == [
        ("children.0.children.0.x", "unknown_field")
    ]


def test_the_list_of_faults_has_an_end() -> None:
    assert (
        len(faults({"title": "abc", **{f"x{i}": 1 for i in range(3 * MAX_FAULTS)}})) == MAX_FAULTS
    )


def test_rules_that_only_the_type_knows_are_faults_too() -> None:
    assert faults(b'{"items":[{"number":2},{"number":3}]}', Holder) == [
        ("items.1", "invalid_format")
    ]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_values = st.one_of(
    _json,
    st.text(alphabet="ab\0\ud800", max_size=4),
    st.sampled_from(["happy", "s", "2024-01-01", "2024-01-01T00:00:00Z", str(UUID(int=5))]),
    st.integers(-2, 12),
    st.just({"kind": "cat", "lives": 9}),
    st.just({"name": "x"}),
    st.lists(st.text(max_size=4), max_size=3),
)
_objects = st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*Everything.__struct_fields__, "unknown"], _values)
)


@given(_objects)
def test_the_walk_and_msgspec_agree_on_what_is_sound(value: dict[str, Any]) -> None:
    raw = json.dumps(value, allow_nan=True).encode()
    try:
        mine: object = decode(raw, Everything)
    except (Invalid, Malformed):
        mine = None
    try:
        walked: object = check(json.loads(raw), Everything)
    except Invalid:
        walked = None
    try:
        theirs: object = msgspec.json.decode(raw, type=Everything)
    except (msgspec.DecodeError, UnicodeDecodeError):
        theirs = None
    if theirs is None or "\\u0000" in raw.decode():
        assert (mine is None) or mine == theirs
    else:
        assert mine == theirs
    if not any(word in raw for word in (b"NaN", b"Infinity")):
        assert walked == mine


@given(st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_malformed_or_invalid_or_sound_and_never_an_accident(raw: bytes) -> None:
    for kind in (Everything, Loose, Tree):
        try:
            decode(raw, kind)
        except (Malformed, Invalid) as error:
            assert isinstance(error, Malformed) or error.faults  # noqa: PT017


@given(_objects)
def test_faults_can_be_written_as_json(value: dict[str, Any]) -> None:
    try:
        check(value, Everything)
    except Invalid as error:
        msgspec.json.encode(error.faults)
