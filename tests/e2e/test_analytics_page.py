"""The analysts' page: who is shown what, and what its charts say in a real browser."""

from __future__ import annotations

import base64
import io
import re
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from PIL import Image

from tests.support.axe import axe, serious
from tests.support.chromium import NotToBeHad
from tests.support.driven import DOOR, Page, log_in
from tests.support.people import PASSWORD, People, Person
from tests.support.upped import Up

DRAWN = "document.querySelector('#tiles').children.length && !document.querySelector('[aria-busy]')"
SVG = "{http://www.w3.org/2000/svg}"
MOODS = ("ecstatic", "happy", None, "neutral", "sad")
MONTH = "from=2026-03-01&through=2026-03-31&bucket=day"
ASKED = {"from": "2026-03-01", "to": "2026-04-01", "bucket": "day"}
browsed = pytest.mark.timeout(400)  # it may be fetched first


@pytest.fixture(scope="module")
def writer(people: People) -> Person:
    """Somebody with a diary of March 2026 that has gaps, in a tenant with somebody else."""
    found = people.new(timezone="Europe/Lisbon", display_name="<i>Ana</i>")
    written = [found.write(date(2026, 3, 1) + timedelta(days=at), mood=MOODS[at % 5])
               for at in range(31) if at not in (6, 7, 8, 9, 20)]  # fmt: skip
    other = people.new()
    tenant = found.post("/v1/tenants", {"name": "The <b>two</b>"}).json()["data"]["id"]
    member = {"user_id": other.id, "role": "viewer"}
    assert found.post(f"/v1/tenants/{tenant}/members", member).status_code == 201
    told = found.http.put(f"/v1/tenants/{tenant}/sharing", json={"analytics": True})
    fresh = {"Consistency-Token": told.headers["Consistency-Token"], "Prefer": "wait=10"}
    for path in ("/v1/tenants", "/v1/analytics/words"):
        assert found.get(path, headers=fresh).status_code == 200
    assert len(written) == 26
    return found


async def text(page: Page, selector: str) -> Any:
    return await page.js(f"document.querySelector({selector!r}).textContent")


async def tiles(page: Page) -> dict[str, str]:
    found = await page.js(
        "Object.fromEntries([...document.querySelectorAll('.tile')].map(each =>"
        " [each.querySelector('dt').textContent, each.querySelector('dd').textContent]))"
    )
    assert isinstance(found, dict)
    return found


async def saved(page: Page, chart: str, form: str) -> tuple[str, bytes]:
    """The name and the content of a file that a button makes."""
    await page.js("pictures.save = (content, name) => { window.made = [name, content]; }, 0")
    await page.js(
        f"window.made = 0, document.querySelector('[data-of={chart}][data-form={form}]').click()"
    )
    await page.until("window.made")
    name, content = await page.js(
        "new Promise(done => { const reader = new FileReader();"
        " reader.onload = () => done([made[0], reader.result]); reader.readAsDataURL(made[1]); })"
    )
    return name, base64.b64decode(content.partition(",")[2])


async def change(page: Page, selector: str, what: str) -> None:
    """A field of the form, as a person would."""
    field = f"document.querySelector({selector!r})"
    changed = "new Event('change', {bubbles: true})"
    await page.js(f"{field}.{what}, {field}.dispatchEvent({changed})")


async def to(page: Page, key: str, times: int = 1) -> None:
    for _ in range(times):
        await page.press(key)


def test_the_page_is_the_same_for_everybody(anonymous: httpx.Client, person: Person) -> None:
    answer = anonymous.get("/analytics")
    assert answer.status_code == 200
    assert person.get("/analytics").text == answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script>|<style|style=|\son\w+=", answer.text)
    files = re.findall(r'(?:href|src)="(/assets/[^"]*)"', answer.text)
    assert {each.split(".")[-1] for each in files} == {"css", "js"}
    sizes = [len(anonymous.get(path).raise_for_status().content) for path in files]
    assert sum(sizes) < 100_000  # it stays small


@browsed
@pytest.mark.slow
@pytest.mark.anyio
async def test_a_month_is_drawn_and_told(tab: Page, up: Up, writer: Person) -> None:
    await tab.go(f"{up.gateway}/analytics?{MONTH}", DOOR)
    await log_in(tab, writer.email, PASSWORD)
    await tab.until(DRAWN)
    assert "<i>Ana</i>, 1 Mar 2026 – 31 Mar 2026, Europe/Lisbon" in await text(tab, "#about")
    words = writer.get("/v1/analytics/words", params=ASKED).json()["data"]["series"][0]["points"]
    shown = await tiles(tab)
    assert (shown["Entries"], shown["Days written"]) == ("26", "84 %")
    assert shown["Words"] == str(sum(each["words"] for each in words))
    assert "Complete up to" in await text(tab, "#stamp")

    # Gaps are gaps: the line begins anew behind each, and they are shaded.
    runs = await tab.js(
        "document.querySelector('#box-mood .gap').getAttribute('d').match(/M/g).length"
    )
    parts = await tab.js(
        "document.querySelector('#box-mood .curve').getAttribute('d').match(/M/g).length"
    )
    gaps = re.findall("0+", "".join("1" if MOODS[at % 5] and at not in (6, 7, 8, 9, 20) else "0"
                                    for at in range(31)))  # fmt: skip
    assert runs == len(gaps)
    assert parts == len(gaps) + 1
    ticks = "[...document.querySelectorAll('#box-mood .tick')].map(each => each.textContent)"
    assert {"9 Mar", "+0.5", "2026"} <= set(await tab.js(ticks))

    # By keyboard, said as it is shown.
    value = "document.querySelector('#box-mood').getAttribute('aria-valuetext')"
    await tab.js("document.querySelector('#box-mood').focus()")
    await to(tab, "Home")
    assert await tab.js(value) == "Sun 1 Mar 2026: Average +1.00, Entries with a mood 1"
    await to(tab, "ArrowRight", 6)
    assert await tab.js(value) == "Sat 7 Mar 2026: Nothing recorded"
    assert "Sat 7 Mar 2026" in await text(tab, "#box-mood .tip")
    await to(tab, "Escape")
    assert await tab.js("document.querySelector('#box-mood .tip').hidden")

    # By pointer.
    at = await tab.js(
        "(() => { const box = document.querySelector('#box-words');"
        " box.scrollIntoView({behavior: 'instant'});"
        " const {left, width, top} = box.getBoundingClientRect();"
        " return [left + width - 10, top + 90]; })()"
    )
    await tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=at[0], y=at[1])
    await tab.until("document.querySelector('#box-words .tip').textContent.includes('31 Mar')")

    await tab.js("document.querySelector('#bucket-week').click()")
    await tab.until(
        f"{DRAWN} && document.querySelector('#sub-words').textContent == 'Words by week'"
    )
    assert "bucket=week" in await tab.js("location.search")
    await tab.js("document.querySelector('#numbers-words').open = true, 0")
    first = "Week of 23 Feb 2026, from 1 Mar 2026"
    await tab.until(f"document.querySelector('#numbers-words tbody th').textContent == '{first}'")
    assert tab.complaints == []


@browsed
@pytest.mark.slow
@pytest.mark.anyio
async def test_charts_are_saved_as_tables_and_pictures(tab: Page, up: Up, writer: Person) -> None:
    await tab.go(f"{up.gateway}/analytics?{MONTH}", DOOR)
    await log_in(tab, writer.email, PASSWORD)
    await tab.until(DRAWN)
    name, table = await saved(tab, "words", "csv")
    assert name == "words-by-day-2026-03-01-to-2026-03-31.csv"
    same = writer.get("/v1/analytics/words", params=ASKED, headers={"Accept": "text/csv"})
    assert table == same.content
    _, picture = await saved(tab, "moods", "svg")
    root = ElementTree.fromstring(picture)
    assert "Moods" in [each.text for each in root.iter(f"{SVG}text")]
    assert not any({"class", "style"} & set(each.keys()) for each in root.iter())
    assert "rgb(" in picture.decode()
    _, bitmap = await saved(tab, "calendar", "png")
    image = Image.open(io.BytesIO(bitmap)).convert("RGB")
    assert image.width == 2400
    assert len(image.getcolors(1 << 20) or []) > 20
    assert image.getpixel((5, 5)) == (255, 255, 255)

    await tab.js("document.querySelector('#by-words').click()")
    assert await text(tab, "#title-calendar") == "Calendar of words"
    name, table = await saved(tab, "calendar", "csv")
    assert name == "calendar-by-day-2025-04-01-to-2026-03-31.csv"
    year = ASKED | {"from": "2025-04-01"}
    same = writer.get("/v1/analytics/words", params=year, headers={"Accept": "text/csv"})
    assert table == same.content
    assert tab.complaints == []


@browsed
@pytest.mark.slow
@pytest.mark.anyio
async def test_others_are_shown_where_they_share(tab: Page, up: Up, writer: Person) -> None:
    await tab.go(f"{up.gateway}/analytics?span=all", DOOR)
    await log_in(tab, writer.email, PASSWORD)
    await tab.until(DRAWN)
    assert (await tiles(tab))["Entries"] == "26"
    options = await tab.js(
        "[...document.querySelectorAll('#who option')].map(o => [o.label, o.disabled])"
    )
    assert options[1] == ["Everybody in The <b>two</b>", False]
    assert options[2][1] is True  # does not share
    await change(tab, "#who", "selectedIndex = 1")
    await tab.until(
        f"{DRAWN} && document.querySelector('#about').textContent.startsWith('The <b>two')"
    )
    stranger = "01900000-0000-7000-8000-000000000000"
    await tab.go(
        f"{up.gateway}/analytics?user_id={stranger}",
        "!document.querySelector('#fault-asked').hidden",
    )
    assert await tab.js("document.querySelector('#charts').hidden")
    await change(tab, "#tz", "value = 'Nowhere/At_all'")
    await tab.until("document.querySelector('#fault-asked').textContent.includes('time zone')")
    assert tab.complaints == []


@browsed
@pytest.mark.slow
@pytest.mark.anyio
async def test_it_says_how_fresh_it_is(tab: Page, up: Up, writer: Person) -> None:
    await tab.go(f"{up.gateway}/analytics", DOOR)
    await log_in(tab, writer.email, PASSWORD)
    await tab.until(DRAWN)
    assert await tab.js("document.querySelector('#stamp').className") == "stamp"
    assert not await tab.js("document.querySelector('#nothing').hidden")  # nothing of late

    # A read model stands still: what the API answers is of an earlier time.
    await tab.js(
        "window.truly = fetch, window.fetch = async (...asked) => {"
        " const answer = await truly(...asked);"
        " if (!answer.url.includes('/v1/analytics/mood')) return answer;"
        " const body = await answer.json(); body.data.as_of = '2020-02-03T04:05:06Z';"
        " return new Response(JSON.stringify(body)); }, 0"
    )
    await tab.js("document.querySelector('#renew').click()")
    await tab.until("document.querySelector('#stamp.late').textContent.includes('3 Feb, 04:05:06')")

    await tab.js("window.fetch = () => Promise.reject(new TypeError('away')), 0")
    await tab.js("document.querySelector('#renew').click()")
    await tab.until("!document.querySelector('#away').hidden")
    assert (await tiles(tab))["Entries"] == "0"  # what was there stays
    await tab.js("window.fetch = truly, document.querySelector('#renew').click()")
    await tab.until("document.querySelector('#away').hidden")
    assert tab.complaints == []


@browsed
@pytest.mark.slow
@pytest.mark.anyio
async def test_it_is_usable_in_every_light_and_width(tab: Page, up: Up, writer: Person) -> None:
    try:
        script = axe()
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    await tab.go(f"{up.gateway}/analytics?from=2026-03-01&through=2026-03-31", DOOR)
    await log_in(tab, writer.email, PASSWORD)
    await tab.until(DRAWN)
    await tab.js("document.querySelector('#numbers-words').open = true, 0")
    for width, dark in ((1440, True), (390, False)):
        await tab.look(width, dark=dark)
        await tab.until("document.querySelector('#box-mood svg').clientWidth"
                        " == document.querySelector('#box-mood').clientWidth")  # fmt: skip
        assert await tab.js("document.documentElement.scrollWidth <= innerWidth")
        assert await serious(tab, script) == []
    assert tab.complaints == []


TICKS = [
    # Of hours: midnights with their date, and the hours between where there is room.
    ([f"2026-03-01T{hour:02}:00:00+00:00" for hour in range(24)], "hour", 40,
     ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]),
    ([f"2026-03-{day:02}T00:00:00+00:00" for day in range(1, 32)], "day", 12,
     ["2 Mar", "9 Mar", "16 Mar", "23 Mar", "30 Mar"]),
    ([f"{2024 + at // 12}-{at % 12 + 1:02}-01T00:00:00+00:00" for at in range(36)], "month", 13,
     ["Jan", "Apr", "Jul", "Oct"] * 3),
    ([f"{year:04}-01-01T00:00:00-00:37" for year in range(995, 1031)], "year", 10,
     ["995", "1000", "1005", "1010", "1015", "1020", "1025", "1030"]),
]  # fmt: skip


@browsed
@pytest.mark.slow
@pytest.mark.anyio
async def test_axes(tab: Page, up: Up) -> None:
    await tab.go(f"{up.gateway}/analytics", DOOR)
    for labels, bucket, step, expected in TICKS:
        found = await tab.js(f"dates.ticks({labels}, {bucket!r}, {step})")
        assert [each["text"] for each in found] == expected
    counts = "charts.counts({}).ticks".format
    assert await tab.js(counts(0)) == [0, 1]
    assert await tab.js(counts(7)) == [0, 2, 4, 6, 8]
    assert await tab.js(counts(1160)) == [0, 500, 1000, 1500]
    assert await tab.js("dates.said(dates.day('0001-01-01'), {week: true})") == "Mon 1 Jan 1"
    assert (
        await tab.js("dates.iso(dates.last('1660-02-01T00:00:00+00:00', 'month'))") == "1660-02-29"
    )
