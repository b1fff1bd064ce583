"""The rules for each field of a person, and the two kinds of input that they bind.

Owns the types with their lengths, formats and choices, and ``faults_of`` for the rules that a type
cannot say. Lengths are in characters (code points). Passwords are no part of a person: their rule
stands in ``commands/credentials.py``.
"""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.faults import Fault

Email = Annotated[
    str,
    Meta(min_length=3, max_length=254, description="Unique, however it is cased."),
]
Username = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=39,
        pattern=r"^[A-Za-z0-9-]*$",
        description="Letters, digits and hyphens; unique, however it is cased.",
    ),
]
DisplayName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\S")]
FullName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
Organization = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
WebAddress = Annotated[
    str, Meta(min_length=1, max_length=500, description="An absolute http or https URL.")
]
Bio = Annotated[str, Meta(max_length=2000)]
Phone = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=50,
        pattern=r"^\+?[0-9][0-9 ()./x-]*$",
        description="Digits with the usual separators, with or without a country code.",
    ),
]
TimeZone = Annotated[
    str, Meta(min_length=1, max_length=64, description="An IANA name, such as Europe/Lisbon.")
]
Language = Literal["en", "pt"]
Theme = Literal["light", "dark", "system"]
DocumentVersion = Annotated[str, Meta(min_length=1, max_length=20, pattern=r"\S")]
Preferences = Annotated[
    dict[str, Any],
    Meta(
        description="An open object of at most 16,384 bytes; what is known has a type: "
        "infer_mood, auto_save, email_weekly_insights, email_monthly_insights and "
        "email_reminder_to_write are booleans. A null clears its key."
    ),
]

PREFERENCES: dict[str, bool] = {
    "infer_mood": False,
    "auto_save": True,
    "email_weekly_insights": True,
    "email_monthly_insights": True,
    "email_reminder_to_write": False,
}
"""The preferences that the platform acts on, and what holds until somebody says otherwise."""


class Notifications(msgspec.Struct, frozen=True):
    """The eight switches: three channels, then what may be sent over them."""

    email: bool = True
    push: bool = False
    sms: bool = False
    session_completed: bool = True
    analysis_ready: bool = True
    billing_alerts: bool = True
    marketing_emails: bool = False
    security_alerts: bool = True


class NotificationChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Switches to be set; one that is not sent stays as it is."""

    email: bool | UnsetType = UNSET
    push: bool | UnsetType = UNSET
    sms: bool | UnsetType = UNSET
    session_completed: bool | UnsetType = UNSET
    analysis_ready: bool | UnsetType = UNSET
    billing_alerts: bool | UnsetType = UNSET
    marketing_emails: bool | UnsetType = UNSET
    security_alerts: bool | UnsetType = UNSET


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody agrees to."""

    terms_version: DocumentVersion
    privacy_policy_version: DocumentVersion
    data_processing: bool
    marketing: bool


class Changes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody wants changed of their profile and settings; null clears."""

    username: Username | UnsetType | None = UNSET
    display_name: DisplayName | UnsetType = UNSET
    full_name: FullName | UnsetType | None = UNSET
    organization: Organization | UnsetType | None = UNSET
    photo_url: WebAddress | UnsetType | None = UNSET
    bio: Bio | UnsetType | None = UNSET
    website: WebAddress | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET
    timezone: TimeZone | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    theme: Theme | UnsetType = UNSET
    private_mode: bool | UnsetType = UNSET
    preferences: Preferences | UnsetType | None = UNSET
    notifications: NotificationChanges | UnsetType = UNSET


_LABEL = r"[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?"
_EMAIL = re.compile(
    # A dotted local part without quotes, as mail systems give out, at a dotted domain.
    rf"[^\s@.\"(),:;<>\[\]\\]+(?:\.[^\s@.\"(),:;<>\[\]\\]+)*@(?:{_LABEL}\.)+{_LABEL}"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PREFERENCES_BYTES = 16_384
_PREFERENCES_DEPTH = 5


def email_key(email: str) -> str:
    """The form in which an address is unique: NFC and lower case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).lower())


def username_key(username: str) -> str:
    """The form in which a username is unique."""
    return username.lower()


@cache
def time_zones() -> frozenset[str]:
    """All IANA names that this installation knows."""
    return frozenset(zoneinfo.available_timezones() - {"localtime", "Factory", "posixrules"})


def _email(value: str) -> str | None:
    local, _, _ = value.rpartition("@")
    if _CONTROL.search(value) or len(local) > 64 or not _EMAIL.fullmatch(value):
        return "must be an e-mail address"
    return None


def _time_zone(value: str) -> str | None:
    return None if value in time_zones() else "must be an IANA time zone, such as Europe/Lisbon"


def _web_address(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bad port or bracket
        good = False
    if not good or _CONTROL.search(value) or " " in value:
        return "must be an absolute http or https URL"
    return None


def _one_line(value: str) -> str | None:
    return "must be one line without control characters" if _CONTROL.search(value) else None


_RULES: dict[str, Callable[[str], str | None]] = {
    "email": _email,
    "display_name": _one_line,
    "full_name": _one_line,
    "organization": _one_line,
    "photo_url": _web_address,
    "website": _web_address,
    "timezone": _time_zone,
}


def faults_of(fields: Mapping[str, Any]) -> list[Fault]:
    """The faults that no type can say, of whichever fields of a person are there.

    Values of another type than the field's are passed over: the types report those.
    """
    found = [
        Fault(name, "invalid_format", f"{name} {message}")
        for name, rule in _RULES.items()
        if isinstance(value := fields.get(name), str) and value and (message := rule(value))
    ]
    if isinstance(preferences := fields.get("preferences"), dict):
        found.extend(_preference_faults(preferences))
    return found


def _preference_faults(preferences: Mapping[Any, Any]) -> Iterator[Fault]:
    for key, value in preferences.items():
        if not isinstance(key, str) or not 1 <= len(key) <= 64:
            yield Fault("preferences", "invalid_format", "a key has 1 to 64 characters")
        elif key in PREFERENCES and value is not None and not isinstance(value, bool):
            yield Fault(f"preferences.{key}", "wrong_type", f"{key} must be true or false")
    if _depth(preferences) > _PREFERENCES_DEPTH:
        yield Fault(
            "preferences", "too_large", f"objects nest at most {_PREFERENCES_DEPTH} levels deep"
        )
    elif len(msgspec.json.encode(preferences)) > _PREFERENCES_BYTES:
        yield Fault("preferences", "too_large", f"at most {_PREFERENCES_BYTES:,} bytes as JSON")


def _depth(value: Any) -> int:
    """How deep containers nest, counted no further than one beyond what is allowed."""
    level: list[Any] = [value]
    for depth in range(_PREFERENCES_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return depth
    return _PREFERENCES_DEPTH + 1
