"""How an insight is put: dates, lists and sentences, in English and Portuguese.

Owns the words. What there is to say is ``adapters/models/local.py``'s.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from domain.journal.events import Mood
from domain.journal.languages import MOODS, Language

_MONTHS: dict[Language, tuple[str, ...]] = {
    "en": (
        *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
        *("October", "November", "December"),
    ),
    "pt": (
        *("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto"),
        *("setembro", "outubro", "novembro", "dezembro"),
    ),
}
_DAYS: dict[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "pt": (
        *("segunda-feira", "terça-feira", "quarta-feira", "quinta-feira", "sexta-feira"),
        *("sábado", "domingo"),
    ),
}
TEXTS: dict[Language, dict[str, str]] = {
    "en": {
        "nothing": "There is nothing to tell: no entry {period} that insights may look at.",
        "begin": "One line about today is enough to begin again.",
        "every_day": "You wrote on every day {period}, {words} words in all.",
        "some_days": "You wrote on {days} of the {all} days {period}, {words} words in all.",
        "that_day": "You wrote on {day}: {words} words.",
        "told_of": "You write of {names}.",
        "one_day": "You wrote on one day {period}, {day}: {words} words.",
        "more": "That is more a day than before ({now} words instead of {then}).",
        "less": "That is less a day than before ({now} words instead of {then}).",
        "fullest": "The fullest page is {day}, with {words} words: {quote}.",
        "fullest_bare": "The fullest page is {day}, with {words} words.",
        "one_person": "{first} is in {count} of these entries.",
        "people": "{first} is in {count} of these entries; {others} come after that.",
        "place": "The place that you name most is {places}.",
        "places": "The places that you name most are {places}.",
        "themes": "What comes back: {themes}.",
        "theme": "What comes back is {themes}.",
        "in_days": "{count} days",
        "moods": "Of the days with a mood, {moods}.",
        "mood": "Every day that you gave a mood was {mood}.",
        "mood_share": "{share} per cent were {mood}",
        "mood_more": "{share} {mood}",
        "bright": "The brightest words are of {day}: {quote}.",
        "dark": "The darkest are of {day}: {quote}.",
        "rises": "The tone rises over this time.",
        "falls": "The tone falls over this time.",
        "ends": "It ends, on {day}, with {quote}.",
        "streak": "{count} days in a row, from {first} to {last}.",
        "nth": "Your entry number {number}, on {day}.",
        "first": "Your first entry, on {day}.",
        "passed": "You passed {number} words, on {day}.",
        "longest": "Your longest entry so far: {words} words, on {day}.",
        "moment": "{day}: {quote}.",
        "resolved": "On {day} you wrote {quote}. How has that gone?",
        "low": "{name} comes up on {count} days, mostly where the tone is low. Is there more to"
        " say about it?",
        "high": "Where {name} comes up the tone is at its brightest, as on {day}. Is there room for"
        " more of it?",
        "missing": "{name} was in many of your earlier entries, and in none of these. Is there"
        " something to tell?",
        "gap": "There is no entry from {first} to {last}. A line about those days may still come"
        " back to you.",
        "unmarked": "None of these entries has a mood. One word a day shows, over months, what does"
        " you good.",
        "and": "and",
        "your": "your {kin}",
        "of": "of {name}",
        "week": "of the week from {first} to {last}",
        "span": "from {first} to {last}",
        "the": "the {place}",
    },
    "pt": {
        "nothing": "Não há nada a contar: nenhuma entrada {period} que se possa ler aqui.",
        "begin": "Uma linha sobre o dia de hoje chega para recomeçar.",
        "every_day": "Escreveu em todos os dias {period}, {words} palavras ao todo.",
        "some_days": "Escreveu em {days} dos {all} dias {period}, {words} palavras ao todo.",
        "that_day": "Escreveu em {day}: {words} palavras.",
        "told_of": "Escreve sobre {names}.",
        "one_day": "Escreveu num só dia {period}, {day}: {words} palavras.",
        "more": "É mais por dia do que antes ({now} palavras em vez de {then}).",
        "less": "É menos por dia do que antes ({now} palavras em vez de {then}).",
        "fullest": "A página mais cheia é a de {day}, com {words} palavras: {quote}.",
        "fullest_bare": "A página mais cheia é a de {day}, com {words} palavras.",
        "one_person": "{first} aparece em {count} destas entradas.",
        "people": "{first} aparece em {count} destas entradas; seguem-se {others}.",
        "place": "O lugar que mais refere é {places}.",
        "places": "Os lugares que mais refere são {places}.",
        "themes": "O que volta sempre: {themes}.",
        "theme": "O que volta sempre é {themes}.",
        "in_days": "{count} dias",
        "moods": "Dos dias com estado de espírito: {moods}.",
        "mood": "Todos os dias com estado de espírito foram de: {mood}.",
        "mood_share": "{share} por cento {mood}",
        "mood_more": "{share} {mood}",
        "bright": "As palavras mais luminosas são de {day}: {quote}.",
        "dark": "As mais sombrias são de {day}: {quote}.",
        "rises": "O tom sobe ao longo deste tempo.",
        "falls": "O tom desce ao longo deste tempo.",
        "ends": "Termina, em {day}, com {quote}.",
        "streak": "{count} dias seguidos, de {first} a {last}.",
        "nth": "A sua entrada número {number}, em {day}.",
        "first": "A sua primeira entrada, em {day}.",
        "passed": "Passou as {number} palavras, em {day}.",
        "longest": "A sua entrada mais longa até agora: {words} palavras, em {day}.",
        "moment": "{day}: {quote}.",
        "resolved": "Em {day} escreveu {quote}. Como tem corrido?",
        "low": "{name} aparece em {count} dias, quase sempre onde o tom é baixo. Há mais a dizer"
        " sobre isso?",
        "high": "Onde aparece {name} o tom é mais luminoso, como em {day}. Há lugar para mais?",
        "missing": "{name} aparecia em muitas entradas anteriores e em nenhuma destas. Há alguma"
        " coisa a contar?",
        "gap": "Não há entradas de {first} a {last}. Talvez ainda lhe ocorra uma linha sobre esses"
        " dias.",
        "unmarked": "Nenhuma destas entradas tem estado de espírito. Uma palavra por dia mostra, ao"
        " fim de meses, o que lhe faz bem.",
        "and": "e",
        "your": "{kin}",
        "of": "de {name}",
        "week": "da semana de {first} a {last}",
        "span": "de {first} a {last}",
        "the": "{place}",
    },
}


class Phrases:
    """The texts in one language; of the dates in one year the year is left out."""

    def __init__(self, language: Language, *, year: int | None) -> None:
        self._language = language
        self._texts: Mapping[str, str] = TEXTS[language]
        self._year = year

    def say(self, key: str, **values: object) -> str:
        """A sentence with these values, its first letter a capital."""
        text = self._texts[key].format_map(
            {
                name: self.number(value) if isinstance(value, int) else value
                for name, value in values.items()
            }
        )
        return text[:1].upper() + text[1:]

    def date(self, date: datetime.date) -> str:
        """A date with its year."""
        return Phrases(self._language, year=None).day(date)

    def day(self, date: datetime.date, *, weekday: bool = False) -> str:
        """A date in words."""
        month = _MONTHS[self._language][date.month - 1]
        year = "" if date.year == self._year else f" {date.year}"
        if self._language == "pt":
            text = f"{date.day} de {month}{' de' + year if year else ''}"
            return f"{_DAYS['pt'][date.weekday()]}, {text}" if weekday else text
        text = f"{date.day} {month}{year}"
        return f"{_DAYS['en'][date.weekday()]}, {text}" if weekday else text

    def period(self, first: datetime.date, last: datetime.date) -> str:
        """A time in words, with what joins it to its days: "of March 1666"."""
        return self._texts[self._kind(first, last)].format_map(
            {
                "name": self._name(first, last),
                "first": self.day(first),
                "last": self.date(last),
            }
        )

    def _kind(self, first: datetime.date, last: datetime.date) -> str:
        if self._name(first, last):
            return "of"
        return "week" if (last - first).days == 6 else "span"

    def _name(self, first: datetime.date, last: datetime.date) -> str:
        """The name of a day, a month or a year; empty for what has none."""
        ends_month = (last + datetime.timedelta(days=1)).day == 1
        if first == last:
            return self.date(first)
        if first.day == 1 and ends_month and (last - first).days < 31:
            month = _MONTHS[self._language][first.month - 1]
            return f"{month} de {first.year}" if self._language == "pt" else f"{month} {first.year}"
        if (first.month, first.day, last.month, last.day) == (1, 1, 12, 31):
            return str(first.year) if first.year == last.year else ""
        return ""

    def number(self, value: int) -> str:
        """A number with its thousands apart."""
        return f"{value:,}" if self._language == "en" else f"{value:,}".replace(",", " ")

    def share(self, value: float) -> str:
        """A per cent, without decimals where they say nothing."""
        text = f"{value:.0f}" if value >= 1 else f"{value:.1f}"
        return text if self._language == "en" else text.replace(".", ",")

    def listed(self, items: Sequence[str]) -> str:
        """One, two and three."""
        if len(items) < 2:
            return "".join(items)
        return f"{', '.join(items[:-1])} {self._texts['and']} {items[-1]}"

    def mood(self, mood: Mood) -> str:
        """A mood's name."""
        return MOODS[self._language][mood]
