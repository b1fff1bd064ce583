"""What a word is, and when two are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.journal.asked import Slot, Term, understand
from projections.journal.language import Language, fold, one_edit, stem, words_in
from projections.journal.marking import Marker
from tests.support.found import distance

_words = st.text("abc", max_size=5)


@given(_words, _words)
def test_one_edit_is_a_distance_of_one(one: str, other: str) -> None:
    assert one_edit(one, other) == (distance(one, other) == 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("King's don\u2019t mother-in-law", ["king", "don't", "mother", "in", "law"]),
        ("Jos\u00e9 Jose\u0301 Stra\u00dfe", ["jose", "jose", "strasse"]),
        ("d'\u00e1gua foo_bar 3.14", ["d", "agua", "foo", "bar", "3", "14"]),
        ("\u65e5\u672c\u8a9e \U0001f600", ["\u65e5", "\u672c", "\u8a9e"]),
    ],
)
def test_words_are_runs_of_letters(text: str, words: list[str]) -> None:
    assert [each.word for each in words_in(text)] == words


@given(st.text(max_size=60))
def test_every_word_stands_where_it_says(text: str) -> None:
    for word, start, end in words_in(text):
        assert fold(text[start:end]) == word


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("en", "running", "runs"),
        ("en", "admiralty", "admiralties"),
        ("pt", "cora\u00e7\u00f5es", "coracao"),
        ("pt", "homens", "homem"),
        ("pt", "correndo", "correr"),
    ],
)
def test_forms_of_a_word_have_one_stem(language: Language, one: str, other: str) -> None:
    assert stem(fold(one), language) == stem(fold(other), language)


def test_a_query_is_words_phrases_and_exclusions() -> None:
    asked = understand('The musique "Lord of the Admiralty" -church -"in bed" -mother-in-law', "en")
    assert asked.terms == (
        Term((Slot("musiqu", 0),), "musique"),
        Term((Slot("lord", 0), Slot("admiralti", 3))),
    )
    assert asked.without == (
        Term((Slot("church", 0),)),
        Term((Slot("bed", 0),)),
        Term((Slot("mother", 0), Slot("law", 2))),
    )


@pytest.mark.parametrize("q", ["", "the of", '"the"', '"', "-", "--", "!?&|()", "\U0001f600", '""'])
def test_what_has_no_word_asks_for_nothing(q: str) -> None:
    assert understand(q, "en").terms == ()


@pytest.mark.parametrize("q", ['one "two three', '"one two three'])
def test_a_quotation_mark_without_a_partner_means_nothing(q: str) -> None:
    assert [term.word for term in understand(q, "en").terms] == ["one", "two", "three"]


def test_what_was_found_is_marked_and_the_rest_escaped() -> None:
    asked = understand('"lord of the admiralty" playhuose <b>', "en")
    shown = Marker(asked).highlights(
        "<Lord> & co", "A lord. The Lord High the Admiralty's <i>playhouses</i> Playhouse b"
    )
    assert shown.title == []
    assert shown.content == [
        (
            "A lord. The <mark>Lord</mark> High the <mark>Admiralty&#x27;s</mark>"
            " &lt;i&gt;playhouses&lt;/i&gt; <mark>Playhouse</mark> <mark>b</mark>"
        )
    ]
