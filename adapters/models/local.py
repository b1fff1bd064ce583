"""The analyser that comes along: it reads with lexicons and counts, and says so.

No model, no network, the same answer for the same entries. Its summary is made of sentences that
each say something of these very entries, with dates, names and the writer's own words; where there
is nothing to say it is silent. ``commands.analyst.Analyst``.
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from adapters.models.milestones import milestones_of
from adapters.models.names import Name, names_of
from adapters.models.phrases import Phrases
from adapters.models.quotes import Snippet, quoted, resolve, snippets
from adapters.models.themes import Read, Sentence, forms, stems_of, themes_of
from adapters.models.tone import tone_of
from adapters.models.words import fold, language_of, plain, sentences, stem
from commands.analyst import Material, Progress
from domain.journal.insight import Account, Page
from domain.journal.languages import Language

GENERATED_BY = "mindstream-local/1"
"""Name and version; a change of what it says is another version."""

_SUGGESTIONS = 4
_MEANT = 2.0
"""How much a resolution must sound like one."""
_RISE = 0.12
"""By how much the tone of the second half must differ from the first, to be worth a word."""
_OF_RANK = ("duke of", "duchess of", "king of", "queen of", "prince of", "bishop of")
_CAPITAL_THE = frozenset({"exchange", "temple", "tower"})


class _Day(msgspec.Struct, frozen=True):
    page: Page
    read: Read
    tone: float | None
    snippets: list[Snippet]


class LocalAnalyst:
    """Reads with what is at hand."""

    async def tell(self, material: Material, progress: Progress) -> Account:
        """What this time was like; a year of long entries takes some seconds."""
        account = await asyncio.to_thread(account_of, material)
        await progress(1.0)
        return account


def account_of(material: Material) -> Account:
    """What there is to tell."""
    language: Language = "pt" if material.language == "pt" else "en"
    first, last = material.start_date, material.end_date
    phrases = Phrases(language, year=first.year if first.year == last.year else None)
    if not material.pages:
        return Account(
            summary=phrases.say("nothing", period=phrases.period(first, last)),
            suggestions=(phrases.say("begin"),),
            generated_by=GENERATED_BY,
        )
    return _Reading(material, phrases).account()


class _Reading:
    """One reading of one time."""

    def __init__(self, material: Material, phrases: Phrases) -> None:
        self.material = material
        self.phrases = phrases
        pages = material.pages
        self.names = names_of(f"{plain(page.title)}.\n\n{plain(page.content)}" for page in pages)
        self.forms = forms()
        words = {
            folded
            for name in self.names
            for word in name.text.split(" ")
            for folded in (fold(word), stem(fold(word)))
        }
        reads = [self._read(page) for page in pages]
        before = [stems_of(plain(page.content)) for page in material.before.pages]
        self.themes = themes_of(reads, before, self.forms, words)
        telling = {fold(part) for theme in self.themes for part in theme.name.split(" ")}
        telling |= {fold(name.text.split(" ")[-1]) for name in self.names if name.frequency > 1}
        self.days = [
            _Day(
                page,
                read,
                _mean([each.tone for each in read.sentences]),
                snippets(page.content, language_of(page.content), telling),
            )
            for page, read in zip(pages, reads, strict=True)
        ]
        self.used: set[str] = set()

    def _read(self, page: Page) -> Read:
        language = language_of(page.content)
        text = plain(page.content)
        # Without the title: many are the first words of the content, or the same every day.
        return Read(
            tuple(
                Sentence(each, tone_of(each, language), stems_of(each, self.forms))
                for each in sentences(text)
            ),
            page.tags,
        )

    def account(self) -> Account:
        """Everything, in the order in which quotations are given away: none is given twice."""
        resolved = self._resolved()
        summary = "\n\n".join(
            " ".join(part for part in paragraph if part)
            for paragraph in (
                (*self._amount(), self._fullest()),
                (self._people(), self._places(), self._themes())
                if len(self.days) > 1
                else (self._told_of(),),
                (self._moods(), *self._tones(), self._end()),
            )
            if any(paragraph)
        )
        dated = [(day.page.date, each) for day in self.days for each in day.snippets]
        milestones = milestones_of(self.material, dated, self.used, self.phrases)
        return Account(
            summary=summary,
            themes=tuple(self.themes),
            milestones=tuple(milestones),
            suggestions=tuple(self._suggestions(resolved)),
            generated_by=GENERATED_BY,
        )

    # -- what was written --------------------------------------------------------------------

    def _amount(self) -> list[str]:
        say, figures = self.phrases.say, self.material.figures
        first, last = self.material.start_date, self.material.end_date
        days, period = (last - first).days + 1, self.phrases.period(first, last)
        if len(self.days) == 1 and days == 1:
            return [say("that_day", day=self.phrases.date(first), words=figures.words)]
        if len(self.days) == 1:
            day = self.phrases.day(self.days[0].page.date, weekday=True)
            return [say("one_day", period=period, day=day, words=figures.words)]
        every = len(self.days) == days
        told = [
            say("every_day", period=period, words=figures.words)
            if every
            else say("some_days", days=len(self.days), all=days, period=period, words=figures.words)
        ]
        before = self.material.before
        if before.entries >= 7:
            now, then = figures.words // figures.entries_analyzed, before.words // before.entries
            if then and not 0.75 < now / then < 1.33:
                told.append(say("more" if now > then else "less", now=now, then=then))
        return told

    def _fullest(self) -> str:
        if len(self.days) < 2:
            return ""
        date = self.material.figures.most_productive_day
        day = next(day for day in self.days if day.page.date == date)
        best = max(day.snippets, key=lambda each: each.weight, default=None)
        when = self.phrases.day(day.page.date, weekday=True)
        if best is None:
            return self.phrases.say("fullest_bare", day=when, words=day.page.word_count)
        quote = self._quote(best)
        return self.phrases.say("fullest", day=when, words=day.page.word_count, quote=quote)

    # -- who, where, what --------------------------------------------------------------------

    def _people(self) -> str:
        people = self._often("person", 5)
        if not people:
            return ""
        first, *others = people
        shown = self._shown(first)
        if not others:
            return self.phrases.say("one_person", first=shown, count=first.frequency)
        listed = self.phrases.listed([self._shown(name) for name in others])
        return self.phrases.say("people", first=shown, count=first.frequency, others=listed)

    def _places(self) -> str:
        places = [self._shown(name) for name in self._often("place", 4)]
        if not places:
            return ""
        listed = self.phrases.listed(places)
        return self.phrases.say("places" if len(places) > 1 else "place", places=listed)

    def _told_of(self) -> str:
        """Of one entry alone: whom and what it names."""
        named = [self._shown(name) for name in self.names][:5]
        return self.phrases.say("told_of", names=self.phrases.listed(named)) if named else ""

    def _often(self, kind: str, most: int) -> list[Name]:
        least = 1 if len(self.days) < 4 else 2 if len(self.days) < 15 else 3
        found = [name for name in self.names if name.kind == kind and name.frequency >= least]
        return found[:most]

    def _shown(self, name: Name) -> str:
        if name.text.startswith("my "):
            return self.phrases.say("your", kin=name.key).lower()
        if name.kind == "place" and name.key in _CAPITAL_THE and " " not in name.text:
            return self.phrases.say("the", place=name.text).replace("The ", "the ", 1)
        if name.key.startswith(_OF_RANK):
            return self.phrases.say("the", place=name.text).replace("The ", "the ", 1)
        return name.text

    def _themes(self) -> str:
        shown = [
            f"{theme.name} ({self.phrases.say('in_days', count=theme.frequency)})"
            if theme.frequency > 1
            else theme.name
            for theme in self.themes[:5]
            if theme.frequency > 1 or len(self.days) < 4
        ]
        if not shown:
            return ""
        key = "themes" if len(shown) > 1 else "theme"
        return self.phrases.say(key, themes=self.phrases.listed(shown))

    # -- how it felt -------------------------------------------------------------------------

    def _moods(self) -> str:
        shares = self.material.figures.mood_distribution
        if not shares:
            return ""
        if len(shares) == 1:
            return self.phrases.say("mood", mood=self.phrases.mood(next(iter(shares))))
        told = [
            self.phrases.say(
                "mood_more" if number else "mood_share",
                share=self.phrases.share(share),
                mood=self.phrases.mood(mood),
            )
            for number, (mood, share) in enumerate(shares.items())
        ]
        return self.phrases.say("moods", moods=self.phrases.listed(told))

    def _tones(self) -> list[str]:
        if len(self.days) < 2:
            return []
        told = []
        bright = self._extreme(1)
        if bright is not None and (bright[1].tone or 0) > 0.3:
            when = self.phrases.day(bright[0].page.date)
            told.append(self.phrases.say("bright", day=when, quote=self._quote(bright[1])))
        dark = self._extreme(-1)
        if dark is not None and (dark[1].tone or 0) < -0.3:
            when = self.phrases.day(dark[0].page.date)
            told.append(self.phrases.say("dark", day=when, quote=self._quote(dark[1])))
        half = len(self.days) // 2
        earlier, later = (
            _mean([day.tone for day in days]) for days in (self.days[:half], self.days[half:])
        )
        if half >= 3 and earlier is not None and later is not None:
            if later - earlier > _RISE:
                told.append(self.phrases.say("rises"))
            elif earlier - later > _RISE:
                told.append(self.phrases.say("falls"))
        return told

    def _extreme(self, sign: int) -> tuple[_Day, Snippet] | None:
        """The brightest or darkest words: those that stand out, on a day that is like them."""
        best: tuple[float, _Day, Snippet] | None = None
        for day in self.days:
            for each in day.snippets:
                if each.tone is None or each.text in self.used:
                    continue
                score = sign * (each.tone + 0.5 * (day.tone or 0)) + 0.15 * min(each.weight, 3)
                if sign * each.tone > 0 and (best is None or score > best[0]):
                    best = (score, day, each)
        return None if best is None else best[1:]

    def _end(self) -> str:
        """What the time closes with, if that is long enough to have an end."""
        if len(self.days) < 5:
            return ""
        last = self.days[-1]
        closing = [each for each in last.snippets[-4:] if each.text not in self.used]
        best = max(closing, key=lambda each: each.weight, default=None)
        if best is None:
            return ""
        when = self.phrases.day(last.page.date)
        return self.phrases.say("ends", day=when, quote=self._quote(best))

    # -- what to do with it ------------------------------------------------------------------

    def _suggestions(self, resolved: list[str]) -> list[str]:
        found = [
            *resolved,
            *self._low_and_high(),
            *self._missing(),
            *self._gap(),
            *self._unmarked(),
        ]
        return found[:_SUGGESTIONS] or [self.phrases.say("begin")]

    def _resolved(self) -> list[str]:
        found = [
            (meant + 0.3 * each.weight, day.page.date, each)
            for day in self.days
            for each in day.snippets
            if each.text not in self.used and (meant := resolve(each.text)) >= _MEANT
        ]
        if not found:
            return []
        _, date, each = max(found, key=lambda one: (one[0], one[1]))
        quote = self._quote(each)
        return [self.phrases.say("resolved", day=self.phrases.day(date), quote=quote)]

    def _low_and_high(self) -> list[str]:
        toned = [
            (tone, name, count, date) for name, count, tone, date in self._subjects() if count >= 3
        ]
        if not toned:
            return []
        told = []
        low, high = min(toned, key=lambda one: one[0]), max(toned, key=lambda one: one[0])
        if low[0] < -0.05:
            told.append(self.phrases.say("low", name=low[1], count=low[2]))
        if high[0] > 0.4 and high is not low:
            told.append(self.phrases.say("high", name=high[1], day=self.phrases.day(high[3])))
        return told

    def _subjects(self) -> list[tuple[str, int, float, datetime.date]]:
        """People and themes: name, days, tone where they come up, and their brightest day."""
        found = []
        named = [(self._shown(name), name.key) for name in self._often("person", 8)]
        themed = [(theme.name, " ".join(map(_root, theme.name.split()))) for theme in self.themes]
        for shown, key in (*named, *themed):
            words = re.compile(rf"\b{re.escape(key)}", re.IGNORECASE)
            tones: list[tuple[float, datetime.date]] = []
            for day in self.days:
                here = [
                    each.tone
                    for each in day.snippets
                    if each.tone is not None and words.search(each.text)
                ]
                if here:
                    tones.append((sum(here) / len(here), day.page.date))
            if tones:
                mean = sum(tone for tone, _ in tones) / len(tones)
                found.append((shown, len(tones), mean, max(tones)[1]))
        return found

    def _missing(self) -> list[str]:
        older = self.material.before.pages
        if len(older) < 20 or len(self.days) < 5:
            return []
        here = {name.key for name in self.names}
        frequent = [
            name
            for name in names_of(plain(page.content) for page in older[-120:])
            if name.kind == "person" and name.key not in here and name.frequency >= 12
        ]
        return [self.phrases.say("missing", name=self._shown(name)) for name in frequent[:1]]

    def _gap(self) -> list[str]:
        dates = [day.page.date for day in self.days]
        gaps = [((after - before).days, before, after) for before, after in pairwise(dates)]
        longest, before, after = max(gaps, default=(0, dates[0], dates[0]))
        if longest < 4:
            return []
        step = datetime.timedelta(days=1)
        first, last = self.phrases.day(before + step), self.phrases.day(after - step)
        return [self.phrases.say("gap", first=first, last=last)]

    def _unmarked(self) -> list[str]:
        if len(self.days) < 3 or any(day.page.mood for day in self.days):
            return []
        return [self.phrases.say("unmarked")]

    def _quote(self, snippet: Snippet) -> str:
        self.used.add(snippet.text)
        return quoted(snippet.text)


def _root(word: str) -> str:
    return stem(fold(word))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
