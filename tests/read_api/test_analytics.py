"""Series as a client meets them, on real servers."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import msgspec
import nanoarrow  # type: ignore[import-untyped]  # it comes without types
import pytest
from nanoarrow.ipc import InputStream  # type: ignore[import-untyped]

from bootstrap.settings import Settings
from domain.event import Recorded
from projections.reading import Query, ReadUnavailable
from read_api import analytics
from read_api.shared import Shared
from tests.support import http_app
from tests.support.apps import served
from tests.support.newcomers import Newcomer, logged_in, newcomer

pytestmark = pytest.mark.anyio

UNKNOWN = "018f4e2a-7c10-7000-8000-00000000000b"
ENTRIES = "/v1/journal/entries"
AT = "/v1/analytics"
WEEK = "from=2026-03-02&to=2026-03-09&tz=Europe/Lisbon"


@pytest.fixture(scope="module")
async def api(settings: Settings, signing_key: bytes) -> AsyncIterator[httpx.AsyncClient]:
    pem = settings.home / "first.pem"
    pem.write_bytes(signing_key)
    changed = msgspec.structs.replace(
        settings,
        jwt_private_key_file=pem,
        rate_limit_per_minute=100_000,
        operator_email="ops@localhost",
        operator_password="ops",
    )
    async with served(changed) as client:
        yield client


async def wrote(person: Newcomer, on: str, content: str = "one two", **more: Any) -> str:
    body = {"date": on, "title": "A day", "content": content, **more}
    answer = await person.call("POST", ENTRIES, body)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


@pytest.fixture(scope="module")
async def ada(api: httpx.AsyncClient) -> Newcomer:
    """Somebody with a week of entries, one of them deleted and one private."""
    person = await newcomer(api)
    await wrote(person, "2026-03-02", mood="happy", tags=["work"])
    await wrote(person, "2026-03-03", "one two three", mood="sad", tags=["work", "family"])
    gone = await wrote(person, "2026-03-04", mood="angry", tags=["gone"])
    await person.call("DELETE", gone, if_match="*")
    await wrote(person, "2026-03-05", "one", is_private=True, mood="ecstatic", tags=["secret"])
    await wrote(person, "2026-03-08", "no mood at all")
    await wrote(person, "2026-03-09", "after the week", mood="anxious")
    return person


async def series(person: Newcomer, path: str, **headers: str) -> dict[str, Any]:
    answer = await person.get(f"{AT}/{path}", **headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def points(found: dict[str, Any]) -> list[dict[str, Any]]:
    [only] = found["series"]
    assert only["key"] is None
    points: list[dict[str, Any]] = only["points"]
    return points


def problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_moods_by_day(ada: Newcomer) -> None:
    found = await series(ada, f"mood?{WEEK}&bucket=day")
    assert {**found, "series": 0, "as_of": 0, "position": 0} == {
        "bucket": "day", "tz": "Europe/Lisbon", "from": "2026-03-02", "to": "2026-03-09",
        "as_of": 0, "position": 0, "people": 1, "series": 0,
    }  # fmt: skip
    days = points(found)
    nothing = dict.fromkeys(("ecstatic", "happy", "neutral", "sad", "anxious", "angry"), 0)
    assert [day["bucket"] for day in days] == [f"2026-03-0{n}T00:00:00+00:00" for n in range(2, 9)]
    assert [day["entries"] for day in days] == [1, 1, 0, 1, 0, 0, 0]
    assert [day["average_score"] for day in days] == [0.6, -0.6, None, 1.0, None, None, None]
    assert days[0]["moods"] == {**nothing, "happy": 1}
    empty = {"entries": 0, "average_score": None, "moods": nothing}
    assert days[6] == {"bucket": "2026-03-08T00:00:00+00:00", **empty}
    [week] = points(await series(ada, f"mood?{WEEK}&bucket=week"))
    assert (week["bucket"], week["entries"]) == ("2026-03-02T00:00:00+00:00", 3)
    assert week["average_score"] == pytest.approx(1 / 3)
    assert week["moods"] == {**nothing, "happy": 1, "sad": 1, "ecstatic": 1}


async def test_words_and_entries(ada: Newcomer) -> None:
    [month] = points(await series(ada, "words?from=2026-03-01&to=2026-04-01&bucket=month&tz=UTC"))
    assert (month["words"], month["entries"]) == (2 + 3 + 1 + 4 + 3, 5)
    year, following = points(
        await series(ada, "entries?from=2026-03-03&to=2028-01-01&bucket=year&tz=UTC")
    )
    # The first bucket keeps its full start and counts only from where the range begins.
    assert year == {"bucket": "2026-01-01T00:00:00+00:00", "entries": 4}
    assert following["entries"] == 0
    hours = points(await series(ada, "entries?from=2026-03-03&to=2026-03-04&bucket=hour&tz=UTC"))
    assert [hour["entries"] for hour in hours] == [1, *[0] * 23]
    # An entry is in its day's first hour, which has begun before one.
    late = "words?from=2026-03-03T01:00:00&to=2026-03-05T00:00:01Z&bucket=day&tz=UTC"
    assert [day["words"] for day in points(await series(ada, late))] == [0, 0, 1]


async def test_groups(ada: Newcomer) -> None:
    by_mood = (await series(ada, f"entries?{WEEK}&bucket=week&group_by=mood"))["series"]
    assert [(one["key"], one["points"][0]["entries"]) for one in by_mood] == [
        ("ecstatic", 1), ("happy", 1), ("sad", 1), (None, 1),
    ]  # fmt: skip
    by_mood = (await series(ada, f"mood?{WEEK}&bucket=day&group_by=mood"))["series"]
    assert [one["key"] for one in by_mood] == ["ecstatic", "happy", "sad"]
    assert all(len(one["points"]) == 7 for one in by_mood)
    by_tag = (await series(ada, f"words?{WEEK}&bucket=week&group_by=tag"))["series"]
    assert [(one["key"], one["points"][0]["words"]) for one in by_tag] == [
        ("family", 3), ("secret", 1), ("work", 5),
    ]  # fmt: skip
    moods = (await series(ada, f"mood?{WEEK}&bucket=week&group_by=tag"))["series"]
    assert [(one["key"], one["points"][0]["average_score"]) for one in moods] == [
        ("family", -0.6), ("secret", 1.0), ("work", 0.0),
    ]  # fmt: skip
    nothing = await series(ada, "words?from=1999-01-01&to=1999-01-02&group_by=tag&tz=UTC")
    assert nothing["series"] == []


async def test_activity(api: httpx.AsyncClient) -> None:
    person = await newcomer(api)
    began = datetime.now(UTC)
    entry = await wrote(person, "1660-01-01")
    await person.call("PATCH", entry, {"mood": "sad"}, if_match="*")
    await person.call("DELETE", entry, if_match="*")
    await person.call("POST", f"{entry}/restore", {})
    await person.call("PATCH", "/v1/me", {"bio": "x", "theme": "dark"}, if_match="*")
    from_, to = began.date(), began.date() + timedelta(days=2)
    path = f"activity?from={from_}&to={to}&tz=UTC"
    days = points(await series(person, f"{path}&bucket=day"))
    counted: dict[str, int] = {}
    for day in days:
        assert day["events"] == sum(day["by_type"].values())
        for kind, events in day["by_type"].items():
            counted[kind] = counted.get(kind, 0) + events
    assert counted == {
        "login": 1, "logout": 0, "entry_created": 1, "entry_updated": 2, "entry_deleted": 1,
        "insight_viewed": 0, "settings_updated": 1, "profile_updated": 1,
    }  # fmt: skip
    hours = points(await series(person, f"{path}&bucket=hour"))
    assert len(hours) == 48
    assert sum(hour["events"] for hour in hours) == 7
    # Any moment may cut it: what came before the first entry was the login.
    since = began.isoformat().replace("+", "%2B")
    cut = points(await series(person, f"activity?from={since}&to={to}&tz=UTC&bucket=day"))
    assert sum(day["events"] for day in cut) == 6
    assert cut[0]["bucket"] == f"{from_}T00:00:00+00:00"
    until = points(await series(person, f"activity?from={from_}&to={since}&tz=UTC&bucket=hour"))
    assert sum(hour["events"] for hour in until) == 1


async def test_tables(ada: Newcomer) -> None:
    path = f"mood?{WEEK}&bucket=day"
    found = points(await series(ada, path))
    answer = await ada.get(f"{AT}/{path}", accept="text/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(rows[0]) == [
        "bucket", "entries", "average_score",
        "ecstatic", "happy", "neutral", "sad", "anxious", "angry",
    ]  # fmt: skip
    assert [row["bucket"] for row in rows] == [point["bucket"] for point in found]
    assert [row["average_score"] for row in rows] == ["0.6", "-0.6", "", "1.0", "", "", ""]
    arrow = "application/vnd.apache.arrow.stream"
    stream = await ada.get(f"{AT}/{path}", accept=arrow)
    assert stream.headers["content-type"] == arrow
    table = nanoarrow.Array(InputStream.from_readable(io.BytesIO(stream.content)))
    read = list(table.iter_py())
    assert [
        {name: row[name] for name in ("bucket", "entries", "average_score")} for row in read
    ] == [{name: point[name] for name in ("bucket", "entries", "average_score")} for point in found]
    assert [{name: row[name] for name in found[0]["moods"]} for row in read] == [
        point["moods"] for point in found
    ]
    assert [row["start"] for row in read] == [
        datetime.fromisoformat(point["bucket"]) for point in found
    ]
    for one in (answer, stream):
        assert one.headers["consistency-token"]
        assert datetime.fromisoformat(one.headers["x-as-of"]) <= datetime.now(UTC)
        assert one.headers["vary"] == "Accept"
    grouped = await ada.get(f"{AT}/activity?from=2026-03-01&to=2026-03-02", accept="text/csv;q=0.5")
    assert grouped.text.splitlines()[0].startswith("bucket,events,login,logout,entry_created,")
    tagged = await ada.get(f"{AT}/words?{WEEK}&bucket=week&group_by=tag", accept="text/csv")
    assert [line.split(",")[1:] for line in tagged.text.splitlines()] == [
        ["key", "words", "entries"], ["family", "3", "1"], ["secret", "1", "1"], ["work", "5", "2"],
    ]  # fmt: skip
    problem(await ada.get(f"{AT}/{path}", accept="text/html"), 406, "NOT_ACCEPTABLE")
    problem(await ada.get(f"{AT}/{path}", accept="*/*;q=0"), 406, "NOT_ACCEPTABLE")
    for accept in ("*/*", "application/*", "text/csv;q=0.4, application/json"):
        json = await ada.get(f"{AT}/{path}", accept=accept)
        assert json.headers["content-type"] == "application/json", accept


async def test_every_answer_says_how_fresh_it_is(api: httpx.AsyncClient) -> None:
    person = await newcomer(api)
    before = datetime.now(UTC)
    await wrote(person, "2026-03-01")
    answer = await person.get(f"{AT}/entries?from=2026-03-01&to=2026-03-02&tz=UTC")
    found = answer.json()["data"]
    assert points(found)[0]["entries"] == 1
    assert before < datetime.fromisoformat(found["as_of"]) <= datetime.now(UTC)
    assert found["as_of"].endswith("Z")
    assert found["as_of"] == answer.headers["x-as-of"]
    # Handed on, the answer's own token asks for no less.
    again = await api.get(
        f"{AT}/activity?tz=UTC",
        headers={**person.headers, "consistency-token": answer.headers["consistency-token"]},
    )
    assert again.json()["data"]["position"] >= found["position"]


async def test_what_stands_in_for_what_is_not_given(api: httpx.AsyncClient) -> None:
    person = await newcomer(api)
    await person.call("PATCH", "/v1/me", {"timezone": "Pacific/Kiritimati"}, if_match="*")
    today = (datetime.now(UTC) + timedelta(hours=14)).date()
    await wrote(person, today.isoformat())
    found = await series(person, "entries")
    assert (found["bucket"], found["tz"]) == ("day", "Pacific/Kiritimati")
    assert (found["from"], found["to"]) == (
        (today - timedelta(29)).isoformat(), (today + timedelta(1)).isoformat(),
    )  # fmt: skip
    days = points(found)
    assert (len(days), days[-1]["entries"]) == (30, 1)
    assert days[-1]["bucket"] == f"{today}T00:00:00+14:00"
    for bucket, count in (("hour", 48), ("week", 12), ("month", 12), ("year", 10)):
        assert len(points(await series(person, f"entries?bucket={bucket}"))) == count
    years = points(await series(person, "entries?bucket=year&to=1669-06-01"))
    assert [year["bucket"][:4] for year in years] == [str(year) for year in range(1660, 1670)]
    ahead = await series(person, "entries?bucket=month&from=3000-01-15")
    assert (ahead["to"], len(points(ahead))) == ("3001-01-01", 12)


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("from=yesterday&to=2026-02-30&tz=Mars", {"from", "to", "tz"}),
        ("bucket=minute&user_id=me&moon=1", {"bucket", "user_id", "moon"}),
        ("from=2026-03-02&to=2026-03-02", {"to"}),
        ("from=2026-03-02T10:00:00&to=2026-03-02", {"to"}),
        ("from=2026-03-02&from=2026-03-03", {"from"}),
        ("group_by=weather", {"group_by"}),
    ],
)
async def test_faults(ada: Newcomer, query: str, faults: set[str]) -> None:
    answer = await ada.get(f"{AT}/mood?{query}")
    problem(answer, 422, "VALIDATION_FAILED")
    assert {fault["field"] for fault in answer.json()["errors"]} == faults


async def test_too_many_points(ada: Newcomer) -> None:
    path = "words?from=2020-01-01&bucket=day&tz=UTC&to="
    fits = await series(ada, path + (date(2020, 1, 1) + timedelta(20_000)).isoformat())
    assert len(points(fits)) == 20_000
    more = await ada.get(f"{AT}/{path}{date(2020, 1, 1) + timedelta(20_001)}")
    problem(more, 422, "TOO_MANY_BUCKETS")
    # Over all groups: there are three tags in that time.
    grouped = path + (date(2020, 1, 1) + timedelta(7_000)).isoformat() + "&group_by=tag"
    problem(await ada.get(f"{AT}/{grouped}"), 422, "TOO_MANY_BUCKETS")
    # Nothing is made before it is refused.
    for bucket in ("hour", "day"):
        huge = await ada.get(f"{AT}/mood?from=0001-01-01&to=9999-12-31&bucket={bucket}")
        problem(huge, 422, "TOO_MANY_BUCKETS")
    problem(await ada.get(f"{AT}/activity?group_by=mood"), 422, "VALIDATION_FAILED")


async def test_all_years(api: httpx.AsyncClient) -> None:
    person = await newcomer(api)
    await person.call("PATCH", "/v1/me", {"timezone": "Asia/Kolkata"}, if_match="*")
    await wrote(person, "0001-01-01")
    await wrote(person, "9999-12-31")
    all_years = "from=0001-01-01&to=9999-12-31T12:00:00"
    years = points(await series(person, f"entries?{all_years}&bucket=year"))
    assert len(years) == 9_999
    assert years[0] == {"bucket": "0001-01-01T00:00:00+05:53", "entries": 1}
    assert years[-1] == {"bucket": "9999-01-01T00:00:00+05:30", "entries": 1}
    assert sum(year["entries"] for year in years) == 2
    assert len(points(await series(person, f"activity?{all_years}&bucket=year"))) == 9_999


async def test_others_are_seen_only_if_they_share(api: httpx.AsyncClient, ada: Newcomer) -> None:
    ben, eve = await newcomer(api), await newcomer(api)
    about_ada = f"{AT}/words?{WEEK}&bucket=week&user_id={ada.id}"

    def hidden(answer: httpx.Response) -> dict[str, Any]:
        problem(answer, 404, "NOT_FOUND")
        return {**answer.json(), "requestId": 0, "timestamp": 0}

    unknown = hidden(await ben.get(about_ada.replace(ada.id, UNKNOWN)))
    assert hidden(await ben.get(about_ada)) == unknown
    assert hidden(await (await logged_in(api, "ops@localhost", "ops")).get(about_ada)) == unknown
    tenant = (await ben.call("POST", "/v1/tenants", {"name": "Circle"})).headers["location"]
    whole = f"{AT}/words?{WEEK}&bucket=week&tenant_id={tenant.rpartition('/')[2]}"
    assert hidden(await ada.get(whole)) == unknown
    for person in (ada, eve):
        await ben.call("POST", f"{tenant}/members", {"user_id": person.id})
    # Being let in is not enough, and having the right is not enough.
    ada.token = eve.token = ben.token
    problem(await eve.get(about_ada), 403, "FORBIDDEN")
    problem(await eve.get(whole), 403, "FORBIDDEN")
    problem(await ben.get(about_ada), 403, "NOT_SHARED")
    assert [(n["words"], n["entries"]) for n in points((await ben.get(whole)).json()["data"])] == [
        (0, 0)
    ]
    shared = await ada.call("PUT", f"{tenant}/sharing", {"analytics": True})
    assert shared.json()["data"]["shares_analytics"] is True
    await eve.call("PUT", f"{tenant}/sharing", {"analytics": True})
    await wrote(eve, "2026-03-02", "four words of hers", mood="neutral")
    ben.token = eve.token
    # Of others, the private entry does not count.
    [week] = points((await ben.get(about_ada)).json()["data"])
    assert (week["words"], week["entries"]) == (2 + 3 + 4, 3)
    both = (await ben.get(whole)).json()["data"]
    assert both["people"] == 2
    assert points(both)[0]["words"] == 2 + 3 + 4 + 4
    moods = (await ben.get(f"{about_ada}&group_by=mood")).json()["data"]["series"]
    assert [one["key"] for one in moods] == ["happy", "sad", None]
    for path in (about_ada, whole):
        answer = await ben.get(f"{path}&group_by=tag")
        problem(answer, 403, "FORBIDDEN")
        assert "secret" not in answer.text
    did = (await ben.get(f"{AT}/activity?tz=UTC&bucket=year&user_id={ada.id}")).json()["data"]
    assert sum(year["by_type"]["entry_created"] for year in points(did)) == 6
    # Oneself is seen whole, also by one's own id.
    mine = points(await series(ada, f"words?{WEEK}&bucket=week&user_id={ada.id}"))
    assert mine[0]["entries"] == 4
    home = points(await series(ada, f"words?{WEEK}&bucket=week&tenant_id={ada.tenant_id}"))
    assert home == mine
    # A key has no role.
    made = await ben.call("POST", "/v1/api-keys", {"name": "k", "permissions": ["journal:read"]})
    key = {"x-api-key": made.json()["data"]["key"]}
    assert (await api.get(f"{AT}/words", headers=key)).status_code == 200
    problem(await api.get(about_ada, headers=key), 403, "FORBIDDEN")
    # What is taken back holds at once.
    await ada.call("PUT", f"{tenant}/sharing", {"analytics": False})
    problem(await ben.get(about_ada), 403, "NOT_SHARED")
    assert (await ben.get(whole)).json()["data"]["people"] == 1


class Store:
    """Whatever it is asked, it does not answer, or does so with nothing."""

    def __init__(self, away: bool = False) -> None:
        self.away = away

    async def rows(self, query: Query, *parameters: Any, user_id: UUID) -> list[tuple[Any, ...]]:
        return []

    async def rows_of(self, query: Query, *parameters: Any, user_ids: Any) -> list[tuple[Any, ...]]:
        if self.away:
            raise ReadUnavailable("gone")
        return []


class Streams:
    async def read(self, stream_id: str, *, after: int = 0) -> list[Recorded]:
        return []


class Far:
    """Projections that have passed everything."""

    def position(self, *projections: str) -> int:
        return 7

    async def passed(self, position: int, *projections: str, within: float) -> str | None:
        return None

    async def stuck(self, position: int, actor: str, *projections: str) -> None:
        return None

    def epoch(self, user_id: UUID) -> int:
        return -1

    def since(self, user_id: UUID) -> None:
        return None

    def told(self, user_id: UUID) -> int:
        return 0

    def basis(self, *projections: str) -> None:
        return None


async def test_without_the_store_of_series() -> None:
    here = Store()
    for store, status in ((Store(away=True), 503), (Store(), 200)):
        far = Far()
        handlers = analytics.routes(here, store, here, far, Streams(), Shared(None, far))
        async with http_app.client(http_app.conventions(handlers)) as client:
            asked = [
                client.get(f"{AT}/{kind}", headers=http_app.TOKEN)
                for kind in ("mood", "words", "entries", "activity")
            ]
            for answer in await asyncio.gather(*asked):
                assert answer.status_code == status, answer.text
                if status == 503:
                    assert answer.json()["code"] == "ANALYTICS_UNAVAILABLE"
                    assert int(answer.headers["retry-after"]) >= 1
                else:
                    assert answer.json()["data"]["tz"] == "UTC"
