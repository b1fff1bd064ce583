from __future__ import annotations

from typing import Any

import pytest

from domain.accounts.profile import email_key, faults_of


def codes(**fields: Any) -> list[tuple[str, str]]:
    return [(fault.field, fault.code) for fault in faults_of(fields)]


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com",
        "Ada.Lovelace+diary@mail.example.co.uk",
        "o'hara_1@example.com",
        "josé@exämple.pt",
        "a@b.cd",
        "x@1.example",
    ],
)
def test_addresses_that_are_taken(email: str) -> None:
    assert codes(email=email) == []


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "ada@",
        "@example.com",
        "ada@localhost",
        "ada@@example.com",
        "ada @example.com",
        "ada@example..com",
        "ada@-example.com",
        "ada@example-.com",
        ".ada@example.com",
        "ada.@example.com",
        "a..da@example.com",
        "ada@exam_ple.com",
        "ada\n@example.com",
        "ada@example.com\n",
        "ada@example.com\u2028",
        "Ada <ada@example.com>",
        "a" * 65 + "@example.com",
    ],
)
def test_addresses_that_are_refused(email: str) -> None:
    assert codes(email=email) == [("email", "invalid_format")]


def test_an_address_is_one_however_it_is_written() -> None:
    assert email_key("JOSE\u0301@Example.COM") == email_key("josé@example.com")


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Lisbon", "America/Argentina/Ushuaia", "Asia/Tokyo"]
)
def test_time_zones_that_exist(zone: str) -> None:
    assert codes(timezone=zone) == []


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "europe/lisbon", "../etc/passwd", "GMT+25", "localtime"]
)
def test_time_zones_that_do_not(zone: str) -> None:
    assert codes(timezone=zone) == [("timezone", "invalid_format")]


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "//example.com",
        "https://",
        "ftp://example.com",
        "https://a b.c",
        "https://example.com:99999",
        "https://[::1",
        "example.com",
    ],
)
def test_only_web_addresses_are_links(url: str) -> None:
    assert codes(website=url, photo_url=url) == [
        ("photo_url", "invalid_format"),
        ("website", "invalid_format"),
    ]


def test_values_of_other_types_are_left_to_the_types() -> None:
    assert codes(email=5, timezone=None, preferences="x", website="https://example.com/") == []


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"k": value}
    return value


def test_preferences_are_open_but_bounded() -> None:
    assert codes(preferences={"editor": {"font": 14}, "infer_mood": True, "auto_save": None}) == []
    assert codes(preferences={"infer_mood": "yes", "auto_save": 1}) == [
        ("preferences.infer_mood", "wrong_type"),
        ("preferences.auto_save", "wrong_type"),
    ]
    assert codes(preferences={"": 1}) == [("preferences", "invalid_format")]
    assert codes(preferences={"x": "é" * 9000}) == [("preferences", "too_large")]
    assert codes(preferences=nested(5)) == []
    assert codes(preferences=nested(6)) == [("preferences", "too_large")]
    assert codes(preferences=nested(900)) == [("preferences", "too_large")]
