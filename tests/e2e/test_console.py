"""The operators' console: who is shown what, and how it is used in a real browser."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.e2e.conftest import OPERATOR
from tests.support.axe import axe, serious
from tests.support.chromium import NotToBeHad
from tests.support.driven import DOOR, Page, log_in
from tests.support.people import PASSWORD, People, Person
from tests.support.upped import Up

PARTS = ("overview", "projections", "quarantine", "events", "operations", "audit")
STREAM = "/v1/ops/console/stream"
READY = "document.querySelector('#part:not([hidden]) h1')"


@pytest.fixture(scope="module")
def operator(people: People) -> Person:
    return people.log_in(*OPERATOR)


@pytest.fixture
def parked(up: Up) -> Iterator[str]:
    """An event in quarantine."""
    item = str(uuid.uuid4())
    with psycopg.connect(up.services()["owner_dsn"]) as connection:
        connection.execute(
            "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic, error,"
            " state) VALUES (%s, 'no.such', '<b>x</b>', 1, 'x.Y.v1', 'ValueError', 'parked')",
            (item,),
        )
    yield item
    with psycopg.connect(up.services()["owner_dsn"]) as connection:
        connection.execute("DELETE FROM projection_quarantine WHERE id = %s", (item,))


def test_the_frame_is_the_same_for_everybody(
    anonymous: httpx.Client, operator: Person, person: Person
) -> None:
    seen = {client.get("/ops").text for client in (anonymous, operator.http, person.http)}
    [frame] = seen
    policy = anonymous.get("/ops").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script>|<style|style=|\son\w+=", frame)
    for path in re.findall(r'(?:href|src)="(/[^"]*)"', frame):
        answer = anonymous.get(path)
        assert answer.status_code == 200, path
        if path.startswith("/assets/"):
            assert "immutable" in answer.headers["cache-control"]
    assert anonymous.get("/ops/nothing").status_code == 404
    assert anonymous.get("/assets/nothing.css").status_code == 404


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_for_operators(
    anonymous: httpx.Client, operator: Person, person: Person, part: str
) -> None:
    path = f"/v1/ops/console/{part}"
    assert anonymous.get(path).status_code == 401
    assert person.get(path).status_code == 403
    shown = operator.get(path)
    assert shown.status_code == 200
    assert "<h1>" in shown.text
    assert operator.get(path + "?nonsense=1").status_code == 422


def test_what_does_not_exist_is_404(operator: Person) -> None:
    nobody = uuid.uuid4()
    for asked in ("projections?name=no", f"quarantine?id={nobody}", f"operations?id={nobody}",
                  "events?position=99999999999"):  # fmt: skip
        assert operator.get(f"/v1/ops/console/{asked}").status_code == 404, asked
    assert operator.get(f"/v1/ops/console/operations?below_id={nobody}").status_code == 422


def test_a_stream_is_shown_version_by_version_without_what_was_written(
    operator: Person, person: Person
) -> None:
    secret = "a word that nobody else may read"
    entry = person.write("2026-03-01", title=secret).json()["data"]
    changed = person.patch(
        f"/v1/journal/entries/{entry['id']}", {"mood": "happy"}, entry["version"]
    )
    assert changed.status_code == 200
    stream = f"journal.entry-{entry['id']}"
    shown = operator.get("/v1/ops/console/events", params={"stream_id": stream}).text
    assert shown.count("<b>1</b>") == shown.count("<b>2</b>") == 1
    assert secret not in shown
    [position] = re.findall(r'/ops/events\?position=(\d+)">journal.EntryWritten', shown)
    one = operator.get("/v1/ops/console/events", params={"position": position}).text
    assert "What began with the same request" in one
    assert secret not in one
    listed = operator.get("/v1/ops/console/events", params={"topic": "journal.EntryWritten"}).text
    assert "journal.EntryWritten.v1" in listed
    assert "accounts." not in listed.replace("/ops/events?stream_id=accounts", "")


def test_a_rebuild_is_shown_with_what_came_of_it(operator: Person, person: Person) -> None:
    person.write("2026-03-02", tags=["x"])
    accepted = operator.post("/v1/ops/projections/journal.tags/rebuild", {})
    operation, _ = operator.ended(accepted.headers["Location"])
    assert operation["state"] == "succeeded", operation
    shown = operator.get("/v1/ops/console/projections?name=journal.tags").text
    result = operation["result"]
    assert f'data-label="Generation">{result["generation"]}</td>' in shown
    one = operator.get("/v1/ops/console/operations", params={"id": operation["id"]}).text
    assert "checksum_live" in one


def test_what_a_rebuild_would_touch_is_what_the_command_line_says(
    up: Up, operator: Person, person: Person
) -> None:
    person.write("2026-03-03", tags=["y"])
    before = json.loads(
        up.cli("projections", "rebuild", "journal.days", "--dry-run", "--json").stdout
    )
    shown = operator.get("/v1/ops/console/plan?name=journal.days").text
    counts = before["events_by_topic"].items()
    for topic, count in ((topic, count) for topic, count in counts if count):
        assert f'{topic}</td><td class="number">{count:,}</td>' in shown
    assert f"<b>{before['events_total']:,}</b>" in shown
    assert "journal_days" in shown
    assert "No generation is kept" in shown
    accepted = operator.post("/v1/ops/projections/journal.days/rebuild", {})
    operator.ended(accepted.headers["Location"])
    shown = operator.get("/v1/ops/console/plan?name=journal.days").text
    assert re.search(r"Readers get generation <b>\d+</b>.*journal_days__g\d+", shown)
    assert operator.get("/v1/ops/console/plan?name=no").status_code == 404
    assert operator.get("/v1/ops/console/plan").status_code == 422


def test_pages_of_events_follow_each_other(operator: Person, person: Person) -> None:
    for day in range(1, 29):
        person.write(f"2026-02-{day:02}")
    first = operator.get("/v1/ops/console/events").text
    [before] = re.findall(r'href="/ops/events\?before=(\d+)"', first)
    second = operator.get("/v1/ops/console/events", params={"before": before}).text
    of = [{int(each) for each in re.findall(r"\?position=(\d+)", html)} for html in (first, second)]
    assert len(of[0]) == len(of[1]) == 25
    assert min(of[0]) == max(of[1]) + 1


def test_what_lies_in_the_store_is_no_markup(operator: Person, parked: str) -> None:
    listed = operator.get("/v1/ops/console/quarantine").text
    one = operator.get(f"/v1/ops/console/quarantine?id={parked}").text
    assert "<b>x</b>" not in listed + one
    assert "&lt;b&gt;x&lt;/b&gt;" in one


def beats(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """What a stream of the console tells, until it ends."""
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_what_moves_is_told_until_the_login_ends(
    anonymous: httpx.Client, people: People, person: Person
) -> None:
    assert anonymous.get(STREAM).status_code == 401
    assert person.get(STREAM).status_code == 403
    operator = people.log_in(*OPERATOR)
    assert operator.get(STREAM + "?x=1").status_code == 422
    assert operator.http.get(STREAM, headers={"Last-Event-ID": "x"}).status_code == 422
    with operator.http.stream("GET", STREAM, timeout=20) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        told = beats(answer)
        first = next(told)
        person.write("2026-03-04")
        later = next(each for each in told if each["position"] > first["position"])
        assert later["values"]["head"] == f"{later['position']:,}"
        assert {"journal.entries/position", "quarantine/said", "operations/said"} <= set(
            later["values"]
        )
        assert operator.post("/v1/auth/logout", {}).status_code == 204
        assert all(each["position"] >= later["position"] for each in told), "and then it ends"


def test_an_event_in_quarantine_is_told(operator: Person, up: Up) -> None:
    with operator.http.stream("GET", STREAM, timeout=20) as answer:
        told = beats(answer)
        before = next(told)
        with psycopg.connect(up.services()["owner_dsn"]) as connection:
            connection.execute(
                "INSERT INTO projection_quarantine (id, projection, stream_id, position, topic,"
                " error, state) VALUES (gen_random_uuid(), 'no.such', 'told', 1, 'x.Y.v1', 'x',"
                " 'parked')"
            )
        try:
            parked = before["values"]["quarantine/said"].partition(" ")[0]
            said = f"{int(parked) + 1} parked"
            after = next(e for e in told if e["values"]["quarantine/said"].startswith(said))
            assert after["shape"] != before["shape"]
        finally:
            with psycopg.connect(up.services()["owner_dsn"]) as connection:
                connection.execute("DELETE FROM projection_quarantine WHERE stream_id = 'told'")


@pytest.fixture
async def page(tab: Page, up: Up) -> Page:
    """A browser at the console's door."""
    await tab.go(f"{up.gateway}/ops", DOOR)
    return tab


async def enter_on(page: Page, selector: str) -> None:
    await page.js(f"document.querySelector({selector!r}).focus()")
    await page.press("Enter", 13, "\r")


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(400)
async def test_an_operator_pauses_a_projection_and_finds_it_in_the_audit_log(
    page: Page, up: Up, operator: Person
) -> None:
    await log_in(page, OPERATOR[0], "not this one")
    await page.until("document.querySelector('#fault').textContent != ''")
    await page.js(
        "document.querySelector('#login').reset(), document.querySelector('#email').focus()"
    )
    await log_in(page, *OPERATOR)
    await page.until(READY)
    assert await page.js("document.querySelector('h1').textContent") == "Overview"
    assert await page.js("document.cookie") == ""

    await page.go(f"{up.gateway}/ops/projections?name=journal.tags", READY)
    await enter_on(page, "#open-rebuild")
    await page.until(
        "document.querySelector('#rebuild').textContent.includes('journal.EntryWritten.v1')"
    )
    await page.js("document.querySelector('#rebuild').close()")
    for verb, state in (("pause", "paused"), ("resume", "live")):
        await enter_on(page, f"#open-{verb}")
        await page.until(f"document.querySelector('#{verb}').open")
        await enter_on(page, f"#{verb} [type=submit]")
        await page.until(f"document.querySelector('.head .badge').textContent == '{state}'")
    shown = operator.get("/v1/ops/console/audit", params={"target": "journal.tags"}).text
    assert "projection.pause" in shown
    assert "projection.resume" in shown

    await enter_on(page, "#leave")
    await page.until("!document.querySelector('#door').hidden")
    assert await page.js("sessionStorage.length") == 0
    assert page.complaints == []


# Stands before the page's own, so that a test can cut the stream and mend it.
CUT = """
const whole = fetch;
window.fetch = (path, options) => {
  if (!String(path).endsWith("/console/stream")) return whole(path, options);
  if (window.isCut) return Promise.reject(new TypeError("cut"));
  const wire = new AbortController();
  window.cut = () => { window.isCut = true; wire.abort(); };
  options.signal.addEventListener("abort", () => wire.abort());
  return whole(path, {...options, signal: wire.signal});
};
"""


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(400)
async def test_a_page_is_live_and_says_so_when_it_is_not(
    page: Page, up: Up, person: Person
) -> None:
    await log_in(page, *OPERATOR)
    await page.until(READY)
    await page.call("Page.addScriptToEvaluateOnNewDocument", source=CUT)
    await page.go(f"{up.gateway}/ops/projections", READY)
    pulse = "document.querySelector('#pulse').textContent"
    await page.until(f"{pulse} == 'Live'")
    position = "document.querySelector('[data-live=\"journal.entries/position\"]')"
    await page.js(f"window.said = {position}.textContent")
    person.write("2026-03-05")
    await page.until(f"window.said != {position}.textContent")
    await page.js("window.cut()")
    await page.until(f"{pulse} == 'Renewed every 2 s: the live stream is interrupted'")
    await page.js(f"window.said = {position}.textContent")
    person.write("2026-03-06")
    await page.until(f"window.said != {position}.textContent")
    await page.js("window.isCut = false")
    await page.until(f"{pulse} == 'Live'")
    assert page.complaints == []


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(400)
async def test_whoever_is_no_operator_is_told_so(page: Page, person: Person) -> None:
    await log_in(page, person.email, PASSWORD)
    await page.until("!document.querySelector('#barred').hidden")
    assert page.complaints == []


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.timeout(400)
async def test_pages_are_usable_in_every_light_and_width(page: Page, up: Up, parked: str) -> None:
    try:
        script = axe()
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    assert await serious(page, script) == []
    await log_in(page, *OPERATOR)
    await page.until(READY)
    queries = [
        "",
        "/projections",
        "/projections?name=journal.entries",
        "/quarantine",
        f"/quarantine?id={parked}",
        "/events",
        "/events?position=1",
        "/operations",
        "/audit",
    ]
    for query in queries:
        for width, dark in ((1440, True), (390, False)):
            await page.look(width, dark=dark)
            await page.go(f"{up.gateway}/ops{query}", READY)
            assert await page.js("document.documentElement.scrollWidth <= innerWidth"), query
            assert await serious(page, script) == [], (query, width)
    assert page.complaints == []
