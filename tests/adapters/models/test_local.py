"""What the local analyser says: sentences about these very entries, and no others."""

from __future__ import annotations

import datetime

from adapters.models.local import account_of
from adapters.models.milestones import longest_run
from adapters.models.names import names_of
from adapters.models.quotes import snippets
from adapters.models.words import language_of, sentences
from commands.analyst import Before, Material
from domain.journal.events import Mood
from domain.journal.insight import Page, figures_of

ENTRIES: tuple[tuple[int, str, Mood | None, tuple[str, ...]], ...] = (
    (2, "Started running again: three kilometres with Ana, slow and happy.", "happy", ("sport",)),
    (3, "A long meeting about the budget. I was anxious all afternoon.", "anxious", ("work",)),
    (5, "Dinner with Ana in Porto. We laughed until midnight.", "happy", ()),
    (6, "The budget again. I am tired of the budget, it is awful.", "angry", ("work",)),
    (7, "I met Dr. Costa about the budget, and that was horrible, too.", None, ("work",)),
    (
        8,
        "Ran five kilometres for the first time! Ana was there. I will sign up.",
        "happy",
        ("sport",),
    ),
    (16, "I want to call my sister more often. The train to Porto was late.", None, ()),
)
PORTUGUESE = (
    "Corri com a Ana junto ao rio, devagar e feliz.",
    "O orçamento outra vez. Estou cansada do orçamento.",
    "Corri cinco quilómetros pela primeira vez com a Ana!",
)


def page(day: int, content: str, mood: Mood | None = None, tags: tuple[str, ...] = ()) -> Page:
    return Page(
        date=datetime.date(2026, 3, day),
        title=f"Page {day}",
        content=content,
        mood=mood,
        tags=tags,
        word_count=len(content.split()),
    )


def material(pages: list[Page], *, language: str = "en", before: Before | None = None) -> Material:
    return Material(
        insight_type="monthly",
        start_date=datetime.date(2026, 3, 1),
        end_date=datetime.date(2026, 3, 31),
        language=language,
        pages=pages,
        figures=figures_of(pages),
        before=before or Before(),
    )


def test_it_tells_who_where_what_and_how_it_felt() -> None:
    told = account_of(material([page(*entry) for entry in ENTRIES]))
    for said in (
        "You wrote on 7 of the 31 days of March 2026",
        "The fullest page is Sunday, 8 March",
        "Ana is in 3 of these entries",
        "The place that you name most is Porto",
        "work (3 days)",
        "60 per cent were happy, 20 anxious and 20 angry",
    ):
        assert said in told.summary, told.summary
    themes = {theme.name: theme for theme in told.themes}
    assert themes["budget"].frequency == 3
    assert themes["budget"].sentiment < 0 < themes["sport"].sentiment
    assert "Ana" not in themes, "people are told apart"
    assert "4 days in a row, from 5 March to 8 March." in told.milestones
    assert "Your first entry, on 2 March." in told.milestones
    assert "with 14 words: “Ran five kilometres for the first time!”." in told.summary
    assert "On 16 March you wrote “I want to call my sister more often”. How has that gone?" in (
        told.suggestions
    )
    assert any("from 9 March to 15 March" in each for each in told.suggestions)


def test_it_is_told_in_the_persons_language() -> None:
    pages = [page(day, content) for day, content in enumerate(PORTUGUESE, 1)]
    told = account_of(material(pages, language="pt"))
    assert "Escreveu em 3 dos 31 dias de março de 2026" in told.summary
    assert "Ana aparece em 2 destas entradas" in told.summary
    assert "“Estou cansada do orçamento”" in told.summary
    assert any("pela primeira vez" in each for each in (told.summary, *told.milestones))


def test_what_is_new_is_told_by_what_was_before() -> None:
    pages = [page(day, "The garden and the violin, all day.") for day in range(1, 8)]
    older = [
        older_page(day, "The garden again, and Peter came for lunch with Peter.")
        for day in range(1, 28)
    ]
    before = Before(entries=99, words=99 * 4, longest=5, pages=older)
    told = account_of(material(pages, before=before))
    assert told.themes[0].name == "violin"
    assert "more a day than before (7 words instead of 4)" in told.summary
    assert "Your entry number 100, on 1 March." in told.milestones
    assert "Your longest entry so far: 7 words, on 1 March." in told.milestones
    assert any("Peter was in many of your earlier entries" in each for each in told.suggestions)


def older_page(day: int, content: str) -> Page:
    words = len(content.split())
    date = datetime.date(2026, 2, 1) + datetime.timedelta(days=day)
    return Page(date=date, title="x", content=content, word_count=words)


def test_one_entry_alone_is_told_of_without_counting() -> None:
    told = account_of(material([page(5, "Dinner with Ana in Porto.")]))
    assert told.summary.startswith(
        "You wrote on one day of March 2026, Thursday, 5 March: 5 words."
    )
    assert "You write of Ana and Porto." in told.summary
    assert "1 of these" not in told.summary


def test_nothing_is_said_twice() -> None:
    told = account_of(material([page(*entry) for entry in ENTRIES]))
    text = " ".join((told.summary, *told.milestones, *told.suggestions))
    quotes = [part.partition("”")[0] for part in text.split("“")[1:]]
    assert len(quotes) >= 4
    assert len(quotes) == len(set(quotes))
    contents = [content for _, content, _, _ in ENTRIES]
    for quote in quotes:
        assert any(quote in content for content in contents), quote


def test_abbreviations_end_no_sentence_and_names_are_one() -> None:
    text = "Up, and to Sir W. Penn’s. There I met Mr. Hill, St. John and Capt. Cocke! Then home."
    assert len(sentences(text)) == 3
    texts = [
        text,
        "Sir W. Penn came. With Penn I was at Gresham College.",
        "Penn called. My wife in",
    ]
    found = {name.text: (name.kind, name.frequency) for name in names_of(texts)}
    assert found["Sir W. Penn"] == ("person", 3)
    assert found["Gresham College"] == ("place", 1)
    assert found["my wife"] == ("person", 1)
    assert "Then" not in found


def test_quotations_are_whole_clauses() -> None:
    long = "I walked home and it rained, " * 20 + "but he was kind; is not to be had"
    found = [each.text for each in snippets(long, "en")]
    assert found
    assert all(len(each) <= 170 for each in found)
    assert "is not to be had" not in found, "nobody can tell what is not"


def test_languages_and_runs() -> None:
    assert [language_of(text) for text in ("", "Não sei o que é isso", "What is that")] == [
        "en",
        "pt",
        "en",
    ]
    days = [datetime.date(2026, 3, day) for day in (1, 2, 4, 5, 6, 9)]
    assert longest_run(days) == (days[2], days[4])
    assert longest_run([]) is None
