"""What the letters about somebody's journal say, in English and Portuguese.

They say how much was written and never what: a mailbox is read on other people's screens, and an
insight quotes the diary. Owns the words; who gets which letter is ``workers/journal_mail.py``'s.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Literal

from domain.journal.events import InsightReady
from domain.journal.languages import MOODS, Language
from workers.accounts_letters import Text, Written, filled

Template = Literal["weekly_insight", "monthly_insight", "reminder_to_write"]

TEXTS: Mapping[Template, Mapping[str, Text]] = {
    "weekly_insight": {
        "en": Text(
            "Your week in your journal",
            (
                "Hello {name},",
                "the insight into your week from {first} to {last} is there. {figures}",
                (
                    "What comes back, what was reached and what might come next is in your journal,"
                    " under insights."
                ),
                "You get this letter on Mondays. The preference email_weekly_insights ends it.",
            ),
        ),
        "pt": Text(
            "A sua semana no diário",
            (
                "Olá {name},",
                "está pronta a análise da sua semana de {first} a {last}. {figures}",
                (
                    "O que volta sempre, o que alcançou e o que pode vir a seguir está no seu"
                    " diário, em análises."
                ),
                (
                    "Recebe esta mensagem às segundas-feiras. A preferência email_weekly_insights"
                    " termina-a."
                ),
            ),
        ),
    },
    "monthly_insight": {
        "en": Text(
            "Your month in your journal",
            (
                "Hello {name},",
                "the insight into your month from {first} to {last} is there. {figures}",
                (
                    "What comes back, what was reached and what might come next is in your journal,"
                    " under insights."
                ),
                (
                    "You get this letter on the first of each month. The preference"
                    " email_monthly_insights ends it."
                ),
            ),
        ),
        "pt": Text(
            "O seu mês no diário",
            (
                "Olá {name},",
                "está pronta a análise do seu mês de {first} a {last}. {figures}",
                (
                    "O que volta sempre, o que alcançou e o que pode vir a seguir está no seu"
                    " diário, em análises."
                ),
                (
                    "Recebe esta mensagem no primeiro dia de cada mês. A preferência"
                    " email_monthly_insights termina-a."
                ),
            ),
        ),
    },
    "reminder_to_write": {
        "en": Text(
            "A line for your journal?",
            (
                "Hello {name},",
                (
                    "you have not written for some days. One line is enough: what was good today,"
                    " or what was not."
                ),
                (
                    "You get this letter once a week at most. The preference"
                    " email_reminder_to_write ends it."
                ),
            ),
        ),
        "pt": Text(
            "Uma linha para o seu diário?",
            (
                "Olá {name},",
                (
                    "há alguns dias que não escreve. Uma linha chega: o que foi bom hoje, ou o"
                    " que não foi."
                ),
                (
                    "Recebe esta mensagem uma vez por semana, no máximo. A preferência"
                    " email_reminder_to_write termina-a."
                ),
            ),
        ),
    },
}
"""By template and language."""

_FIGURES = {
    "en": "You wrote {entries}, {words}, the most on {most}.",
    "pt": "Escreveu {entries}, {words}, mais em {most}.",
}
_ENTRIES = {"en": ("1 entry", "{} entries"), "pt": ("1 entrada", "{} entradas")}
_WORDS = {"en": ("1 word", "{} words"), "pt": ("1 palavra", "{} palavras")}
_MOOD = {"en": " The mood was mostly {}.", "pt": " O estado de espírito foi sobretudo {}."}


def insight_letter(
    template: Template,
    language: str,
    name: str,
    first: datetime.date,
    last: datetime.date,
    ready: InsightReady,
) -> Written:
    """The letter about an insight: its figures, and where the rest is."""
    known: Language = "pt" if language == "pt" else "en"
    figures = _FIGURES[known].format(
        entries=_counted(_ENTRIES[known], ready.entries_analyzed),
        words=_counted(_WORDS[known], ready.words),
        most=ready.most_productive_day,
    )
    if ready.dominant_mood is not None:
        figures += _MOOD[known].format(MOODS[known][ready.dominant_mood])
    values = {"name": name, "first": str(first), "last": str(last), "figures": figures}
    return filled(TEXTS[template], language, values)


def reminder_letter(language: str, name: str) -> Written:
    """The letter to somebody who has not written for a while."""
    return filled(TEXTS["reminder_to_write"], language, {"name": name})


def _counted(forms: tuple[str, str], count: int) -> str:
    return forms[0] if count == 1 else forms[1].format(count)
