"""The languages in which a journal is read and told of, and what moods are called in them."""

from __future__ import annotations

from typing import Literal

from domain.journal.events import Mood

Language = Literal["en", "pt"]

MOODS: dict[Language, dict[Mood, str]] = {
    "en": {
        "ecstatic": "ecstatic",
        "happy": "happy",
        "neutral": "neutral",
        "sad": "sad",
        "anxious": "anxious",
        "angry": "angry",
    },
    "pt": {
        "ecstatic": "eufórico",
        "happy": "feliz",
        "neutral": "neutro",
        "sad": "triste",
        "anxious": "ansioso",
        "angry": "zangado",
    },
}
