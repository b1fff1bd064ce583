"""Pages: how large they are, and that their size decides nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.engine import pages
from projections.engine.pages import LEAST, PAGE_SECONDS, Pace
from tests.support.diary_of_notes import Diary


def test_what_is_cheap_to_fold_comes_in_whole_pages() -> None:
    pace = Pace(5_000)
    for _ in range(10):
        pace.took(pace.size, 0.01)
    assert pace.size == 5_000


@given(cost=st.floats(0.000_01, 0.005))
def test_a_page_takes_no_longer_than_it_may(cost: float) -> None:
    pace = Pace(5_000)
    sizes = []
    for _ in range(20):
        sizes.append(pace.size)
        pace.took(pace.size, pace.size * cost)
    # Those that come to rest do not swing, and none is far beyond.
    assert len(set(sizes[-5:])) == 1
    assert max(sizes) * cost <= 2 * PAGE_SECONDS
    assert sizes[-1] * cost <= PAGE_SECONDS
    assert sizes[-1] == 5_000 or sizes[-1] * cost >= PAGE_SECONDS / 4


def test_a_machine_that_gets_busy_makes_pages_small_at_once() -> None:
    pace = Pace(5_000)
    for _ in range(10):
        pace.took(pace.size, 0.01)
    pace.took(300, 12.0)
    assert pace.size == 150


def test_few_events_at_once_do_not_make_pages_large() -> None:
    pace = Pace(5_000)
    for _ in range(100):
        pace.took(3, 0.001)
    assert pace.size == LEAST


def test_a_page_is_never_larger_than_it_may_be_nor_empty() -> None:
    pace = Pace(1)
    for seconds in (0.001, 10.0, 0.001):
        pace.took(1, seconds)
        assert pace.size == 1


@pytest.mark.parametrize(
    ("allowed", "reaches"),
    [
        pytest.param(0.0, (1, 2, 3, 4), id="slow"),
        # Each size comes twice: the next page was asked for before the first had told its speed.
        pytest.param(1_000.0, (1, 2, 4, 6, 10, 12), id="quick"),
    ],
)
def test_slow_folding_commits_in_small_pages_and_quick_in_ever_larger_ones(
    diary: Diary, monkeypatch: pytest.MonkeyPatch, allowed: float, reaches: tuple[int, ...]
) -> None:
    monkeypatch.setattr(pages, "PAGE_SECONDS", allowed)
    reached: list[int] = []
    diary.some(reaches[-1] * LEAST)
    runner = diary.runner(tell=lambda views, behind, to, seconds: reached.append(to))
    runner.catch_up()
    assert diary.rows() == diary.model
    assert reached == [LEAST * to for to in reaches]
