"""What every store's search must find: the same as a script that looks at every entry."""

from __future__ import annotations

import datetime
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from domain.accounts.events import SubjectErased
from domain.journal.events import EntryDeleted, EntryRestored, EntryRevised
from projections.journal.asked import Place, Wanted, understand
from projections.journal.search import Found
from tests.support.diary import PEPYS
from tests.support.found import Answer, Written, brute_force
from tests.support.searching import Store, an_entry, stores

pytestmark = pytest.mark.anyio

DAY = datetime.date(2026, 3, 1)


@pytest.fixture(scope="module", params=stores())
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with request.param(request) as opened:
        yield opened


async def everything(store: Store, user_id: UUID, q: str = "", **filters: Any) -> list[Found]:
    """All pages of a search, three hits at a time."""
    language = filters.pop("language", "en")
    wanted = Wanted(asked=understand(q, language), **filters)
    pages: list[Found] = []
    after: Place | None = None
    while not pages or after is not None:
        pages.append(await store.search.find(user_id, wanted, after=after, limit=3))
        after = pages[-1].end
    return pages


async def answer(store: Store, user_id: UUID, q: str = "", **filters: Any) -> Answer:
    pages = await everything(store, user_id, q, **filters)
    hits = [hit for page in pages for hit in page.hits]
    order = [(-hit.score, -hit.date.toordinal()) for hit in hits]
    assert order == sorted(order)
    assert len(hits) == pages[0].total
    for page in pages:
        assert (page.total, page.moods, page.tags) == (
            pages[0].total, pages[0].moods, pages[0].tags,
        )  # fmt: skip
    return Answer(
        {str(hit.entry_id) for hit in hits},
        [(each.value, each.count) for each in pages[0].moods],
        [(each.value, each.count) for each in pages[0].tags],
    )


def diary(*texts: str | dict[str, Any]) -> list[Written]:
    """An entry a day."""
    entries = []
    for at, text in enumerate(texts):
        fields: dict[str, Any] = {"title": "A day", "content": "", "mood": None, "tags": ()}
        fields |= {"content": text} if isinstance(text, str) else text
        date = DAY + datetime.timedelta(days=at)
        entries.append(Written(str(uuid7()), date, **fields))
    return entries


WALKS = diary(
    "I walked to the harbour.",
    {
        "title": "Walking",
        "content": "The Lord High of Admiralty",
        "mood": "happy",
        "tags": ("sea",),
    },
    {"content": "Lord of the Admiralty, a walk", "mood": "sad", "tags": ("sea", "work")},
    {"content": "lord. Admiralty of the", "tags": ("work",), "mood": "happy"},
    {"content": "To the playhouse by água", "is_private": True, "mood": "angry", "tags": ("x",)},
    {"title": "Lord of", "content": "the Admiralty. Musique in church", "tags": ("sea",)},
    {"content": "musique walk walk walk and car in 1666"},
    {"title": "O'Brien's \\ 'quoted' day", "content": "cats & dogs: don't | (a) <-> b !c"},
)
QUERIES = [
    "", "walk", "walking harbour", "wakl", "wlak", "awlk", "valk", "walkk", "wal", "hrabour",
    '"Lord of the Admiralty"', '"the lord of admiralty"', '"lord admiralty"', "lord -walk",
    '-"lord of the admiralty"', "-walk", "musique -church", "playhous", "agua", "ÁGUA", "the",
    '"', "cats", "cat", "carts", "obrien", "brien", "quoted", "don't", "dont", "a b", "zebra",
    "walk -zebra", "-the", '"walk" "harbour"', "'|&!():*\\", "cats <-> dogs", "Lrod Admirlaty",
    "1666", "1667",
]  # fmt: skip


@pytest.fixture(scope="module")
async def walker(store: Store) -> UUID:
    user_id = uuid7()
    await store.write(user_id, WALKS)
    # Somebody else has written the same, and more.
    await store.write(uuid7(), [*diary("zebra"), *(w._replace(id=str(uuid7())) for w in WALKS)])
    return user_id


@pytest.mark.parametrize("q", QUERIES)
async def test_it_finds_what_looking_at_every_entry_finds(
    store: Store, walker: UUID, q: str
) -> None:
    for private in (False, True):
        expected = brute_force(WALKS, q, include_private=private)
        assert await answer(store, walker, q, include_private=private) == expected, q


@pytest.mark.parametrize(
    "filters",
    [
        {"mood": "happy"},
        {"tags": ("sea",)},
        {"tags": ("sea", "work")},
        {"date_from": WALKS[2].date},
        {"date_to": WALKS[2].date},
        {"date_from": WALKS[1].date, "date_to": WALKS[5].date, "tags": ("sea",)},
        {"date_from": WALKS[5].date, "date_to": WALKS[1].date},
    ],
)
async def test_filters_hold_for_hits_and_facets(
    store: Store, walker: UUID, filters: dict[str, Any]
) -> None:
    for q in ("", "lord"):
        assert await answer(store, walker, q, **filters) == brute_force(WALKS, q, **filters)


async def test_the_title_and_the_word_itself_count_more(store: Store) -> None:
    user_id = uuid7()
    entries = diary(
        {"title": "Harbour"}, "harbour", "habrour", "harbour harbour harbour", "harbour", "other"
    )
    await store.write(user_id, entries)
    [*pages] = await everything(store, user_id, "harbour")
    found = [str(hit.entry_id) for page in pages for hit in page.hits]
    assert found == [entries[at].id for at in (0, 3, 4, 1, 2)]


async def test_a_language_has_stems_and_stop_words_of_its_own(store: Store) -> None:
    user_id = uuid7()
    entries = diary("Os corações da menina", "uma menina correndo", "the heart of a girl", "da")
    await store.write(user_id, entries)
    for language in ("en", "pt"):
        for q in ("coração", "meninas", "correr", "da", '"corações da menina"', "hearts", "the"):
            expected = brute_force(entries, q, language=language)
            assert await answer(store, user_id, q, language=language) == expected, (language, q)


async def test_an_entry_is_found_as_it_is_now(store: Store) -> None:
    user_id = uuid7()
    [entry] = diary({"content": "harbour", "tags": ("sea",)})
    events = an_entry(user_id, entry)
    entry_id = UUID(entry.id)
    revised = EntryRevised(entry_id=entry_id, user_id=user_id, content="mountain", mood="sad")
    gone = EntryDeleted(entry_id=entry_id, user_id=user_id, date=entry.date)
    back = EntryRestored(entry_id=entry_id, user_id=user_id, date=entry.date)
    for event, words in (
        (events, {"harbour"}), (revised, {"mountain"}), (gone, set()), (back, {"mountain"}),
    ):  # fmt: skip
        await store.append(event)
        for word in ("harbour", "mountain"):
            pages = await everything(store, user_id, word)
            assert pages[0].total == (word in words), (event, word)
    assert [each.value for each in pages[0].moods] == ["sad"]
    assert [each.value for each in pages[0].tags] == ["sea"]


async def test_who_is_erased_is_not_found_and_nobody_else_is_missing(store: Store) -> None:
    gone, stays = uuid7(), uuid7()
    entries = diary("harbour", "harbour too")
    await store.write(gone, entries)
    await store.write(stays, diary("harbour"))
    [later] = diary("the harbour again")
    # In one batch with what came before, which is not folded first.
    await store.append(an_entry(gone, later), SubjectErased(user_id=gone))
    assert (await everything(store, gone, "harbour"))[0].total == 0
    assert (await everything(store, gone))[0].total == 0
    assert (await everything(store, stays, "harbour"))[0].total == 1


async def test_a_text_of_any_kind_is_found(store: Store) -> None:
    user_id = uuid7()
    entries = diary(
        "lala " * 2_000, "x" * 10_000, "日本語" * 3_000,
        "'; DROP TABLE x; -- \\", "e\u0301té \u2028 ñ",
        {"title": "t" * 200, "content": "a.b,c;d e-f/g\\h"},
    )  # fmt: skip
    await store.write(user_id, entries)
    queries = [
        "lala",
        "x" * 1_000,
        "日本",
        '"本語日"',
        "drop table",
        "ete",
        "été n",
        "b c d e f g h",
    ]
    for q in queries:
        assert await answer(store, user_id, q) == brute_force(entries, q), q[:20]


_some_words = st.lists(
    st.sampled_from("the walk walks wlak sea seas church chruch of água don't 'x".split()),
    max_size=6,
).map(" ".join)
_entries = st.lists(
    st.builds(
        dict,
        title=_some_words,
        content=_some_words,
        mood=st.sampled_from([None, "happy", "sad"]),
        tags=st.sampled_from([(), ("a",), ("a", "b")]),
        is_private=st.booleans(),
    ),
    max_size=4,
)
_q = st.lists(
    st.sampled_from(
        'walk wakl seas -church chirch "the sea" "walk of water" agua -walk dont "church'.split(" ")
    ),
    max_size=3,
).map(" ".join)


async def test_nothing_of_another_person_is_in_anything(store: Store) -> None:
    """Hits, facets and counts are those of each one's own entries, whatever both wrote."""

    @settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(_entries, _entries, st.lists(_q, min_size=3, max_size=3), st.booleans())
    def collect(ours: Any, theirs: Any, queries: list[str], private: bool) -> None:
        tried.append((diary(*ours), diary(*theirs), queries, private))

    tried: list[tuple[list[Written], list[Written], list[str], bool]] = []
    collect()
    for ours, theirs, queries, private in tried:
        us, them = uuid7(), uuid7()
        await store.write(us, ours)
        await store.write(them, theirs)
        for q in queries:
            for user_id, entries in ((us, ours), (them, theirs)):
                expected = brute_force(entries, q, include_private=private)
                assert await answer(store, user_id, q, include_private=private) == expected, q


@pytest.mark.skipif(PEPYS is None, reason="the diary of Samuel Pepys is not at hand")
async def test_the_diary_of_pepys(store: Store) -> None:
    assert PEPYS is not None
    lines = {}
    for line in PEPYS.read_text("utf-8").splitlines():
        raw = json.loads(line)
        if 0 < len(raw["content"]) <= 10_000 and raw["date"] < "1660-08":
            lines.setdefault(raw["date"], raw)
    entries = [
        Written(
            str(uuid7()),
            datetime.date.fromisoformat(raw["date"]),
            raw["title"],
            raw["content"],
            raw.get("mood"),
            tuple(dict.fromkeys(tag.strip().lower() for tag in raw.get("tags") or ())),
        )
        for raw in lines.values()
    ]
    user_id = uuid7()
    await store.write(user_id, entries)
    for q, filters in (
        ('"Lord of the Admiralty"', {}),
        ("musique -church", {}),
        ("playhous", {}),
        ("plahyouse", {}),
        ("king", {"date_from": datetime.date(1660, 5, 22), "date_to": datetime.date(1660, 5, 29)}),
        ("-king", {}),
    ):
        wanted = Wanted(asked=understand(q, "en"), **filters)
        found = await store.search.find(user_id, wanted, after=None, limit=100)
        expected = brute_force(entries, q, **filters)
        assert found.total == len(expected.ids), q
        assert {str(hit.entry_id) for hit in found.hits} <= expected.ids
        assert [(each.value, each.count) for each in found.tags] == expected.tags
