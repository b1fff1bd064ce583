"""What somebody reached in a time: runs of days, round numbers, and days unlike the others.

Pure. Counted are the entries that an insight may see, here as everywhere.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from adapters.models.phrases import Phrases
from adapters.models.quotes import Snippet, moment, quoted
from commands.analyst import Material
from domain.journal.insight import Page

_ENTRIES = (10, 25, 50, 100, 200, 365, 500, 750, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 10_000)
_WORDS = tuple(
    number * thousands for thousands in (1_000, 10_000, 100_000, 1_000_000) for number in (1, 2, 5)
)
_MOMENTS = 3
_STREAK = 3
"""Days in a row that are worth a word."""
_TELLS = 1.5
"""How much a moment must sound like one."""


def milestones_of(
    material: Material,
    snippets: Sequence[tuple[datetime.date, Snippet]],
    used: set[str],
    phrases: Phrases,
) -> list[str]:
    """In words; quotations that are ``used`` are left out, and those given here added to it."""
    return [
        *_streak(material.pages, phrases),
        *_numbers(material, phrases),
        *_moments(snippets, used, phrases),
    ]


def longest_run(dates: Sequence[datetime.date]) -> tuple[datetime.date, datetime.date] | None:
    """The first and the last of the most days in a row, the later ones where there are several."""
    best: tuple[datetime.date, datetime.date] | None = None
    start: datetime.date | None = None
    for number, date in enumerate(dates):
        if start is None or (date - dates[number - 1]).days != 1:
            start = date
        if best is None or date - start >= best[1] - best[0]:
            best = (start, date)
    return best


def _streak(pages: Sequence[Page], phrases: Phrases) -> list[str]:
    run = longest_run([page.date for page in pages])
    if run is None or (days := (run[1] - run[0]).days + 1) < _STREAK:
        return []
    first, last = phrases.day(run[0]), phrases.day(run[1])
    return [phrases.say("streak", count=days, first=first, last=last)]


def _numbers(material: Material, phrases: Phrases) -> list[str]:
    told: list[str] = []
    before = material.before
    entries, words = before.entries, before.words
    if entries == 0:
        told.append(phrases.say("first", day=phrases.day(material.pages[0].date)))
    passed: tuple[int, datetime.date] | None = None
    nth: tuple[int, datetime.date] | None = None
    for page in material.pages:
        entries += 1
        if entries in _ENTRIES:
            nth = (entries, page.date)
        for number in _WORDS:
            if words < number <= words + page.word_count:
                passed = (number, page.date)
        words += page.word_count
    if nth is not None:
        told.append(phrases.say("nth", number=nth[0], day=phrases.day(nth[1])))
    if passed is not None:
        told.append(phrases.say("passed", number=passed[0], day=phrases.day(passed[1])))
    longest = max(material.pages, key=lambda page: page.word_count)
    if before.entries >= 5 and longest.word_count > before.longest:
        day = phrases.day(longest.date)
        told.append(phrases.say("longest", words=longest.word_count, day=day))
    return told


def _moments(
    snippets: Sequence[tuple[datetime.date, Snippet]], used: set[str], phrases: Phrases
) -> list[str]:
    telling = [
        (moment(each.text), each.weight, date, each)
        for date, each in snippets
        if each.text not in used and moment(each.text) >= _TELLS
    ]
    best: dict[datetime.date, tuple[float, float, datetime.date, Snippet]] = {}
    for one in sorted(telling, key=lambda one: (-one[0], -one[1], one[2])):
        best.setdefault(one[2], one)  # one a day
    chosen = sorted(list(best.values())[:_MOMENTS], key=lambda one: one[2])
    used.update(each.text for _, _, _, each in chosen)
    return [
        phrases.say("moment", day=phrases.day(date), quote=quoted(each.text))
        for _, _, date, each in chosen
    ]
