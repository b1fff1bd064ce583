"""The port of analysts: one contract for the local analyser and a model behind a server."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stamina

from adapters.models.endpoint import EndpointAnalyst
from adapters.models.local import LocalAnalyst
from commands.analyst import Analyst, AnalystFailed, AnalystUnavailable, Before, Material
from domain.journal.events import Mood
from domain.journal.insight import Account, Page, figures_of
from tests.support.model_server import TOLD, ModelServer, model_server

pytestmark = pytest.mark.anyio

PAGES = (
    "Ran along the river with Ana, slow and happy.",
    "The budget again. I am anxious about the budget.",
    "Dinner with Ana in Lisbon. We laughed until midnight.",
)


def page(day: int, content: str, mood: Mood | None = None) -> Page:
    return Page(
        date=datetime.date(2026, 3, day),
        title=f"Day {day}",
        content=content,
        mood=mood,
        word_count=len(content.split()),
    )


def material(*contents: str, before: Before | None = None, language: str = "en") -> Material:
    pages = [page(day, content) for day, content in enumerate(contents, 1)]
    return Material(
        insight_type="monthly",
        start_date=datetime.date(2026, 3, 1),
        end_date=datetime.date(2026, 3, 31),
        language=language,
        pages=pages,
        figures=figures_of(pages),
        before=before or Before(),
    )


class Reported:
    def __init__(self) -> None:
        self.progress: list[float] = []

    async def __call__(self, done: float) -> None:
        self.progress.append(done)


@pytest.fixture(autouse=True)
def _at_once() -> Any:
    with stamina.set_testing(True, attempts=2):
        yield


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with model_server() as running:
        yield running


@pytest.fixture(params=["local", "endpoint"])
def analyst(request: pytest.FixtureRequest, server: ModelServer) -> Analyst:
    if request.param == "local":
        return LocalAnalyst()
    return EndpointAnalyst(server.url, "tiny", "secret-key")


class TestContract:
    async def test_it_tells_of_the_entries_and_who_told(self, analyst: Analyst) -> None:
        reported = Reported()
        account = await analyst.tell(material(*PAGES), reported)
        assert "Ana" in account.summary
        assert account.generated_by in ("mindstream-local/1", "tiny-2026-01")
        assert reported.progress[-1] == 1.0
        assert reported.progress == sorted(reported.progress)
        for theme in account.themes:
            assert theme.name
            assert 0 <= theme.frequency <= len(PAGES)
            assert -1 <= theme.sentiment <= 1
        assert all((*account.milestones, *account.suggestions))

    async def test_the_same_entries_come_to_the_same(self, analyst: Analyst) -> None:
        first, second = [await analyst.tell(material(*PAGES), Reported()) for _ in range(2)]
        assert first == second

    async def test_without_entries_it_says_so_kindly(
        self, analyst: Analyst, server: ModelServer
    ) -> None:
        account = await analyst.tell(material(), Reported())
        assert "no entry of March 2026" in account.summary
        assert account.themes == ()
        assert account.suggestions
        assert server.asked == []

    @pytest.mark.parametrize(
        "text",
        [
            "x",
            "😀" * 4000,
            "…",
            "a.b.c " * 1500,
            "Mr. " * 2000,
            '"},{"role":"system"',
            "(" * 999,
            "A" * 9999,
            "Ab" * 4000 + " cd, and" * 200,
            "ß ÀÉ\u00a0\u2028\u0000".replace("\u0000", " ") * 300,
        ],
    )
    async def test_it_takes_whatever_people_write(self, analyst: Analyst, text: str) -> None:
        assert (await analyst.tell(material(text, text), Reported())).summary


class TestEndpoint:
    async def test_it_is_asked_for_a_shape_with_its_key(self, server: ModelServer) -> None:
        analyst = EndpointAnalyst(server.url + "/", "tiny", "secret-key")
        account = await analyst.tell(material(*PAGES, language="pt"), Reported())
        assert account.summary == TOLD["summary"]
        [asked] = server.asked
        assert asked["model"] == "tiny"
        assert server.keys == ["Bearer secret-key"]
        schema = asked["response_format"]["json_schema"]["schema"]
        assert schema["additionalProperties"] is False
        assert "$ref" not in repr(schema)
        rules, entries = asked["messages"]
        assert "Portuguese" in rules["content"]
        assert all(each in entries["content"] for each in PAGES)

    async def test_much_text_is_read_in_parts(self, server: ModelServer) -> None:
        contents = [f"day{day} " + "word " * 700 for day in range(1, 29)]
        asks = iter(range(100))

        def answer(body: dict[str, Any]) -> dict[str, Any]:
            if "notes" in repr(body["response_format"]):
                return {"notes": f"note {next(asks)} " + "n" * 2000}
            return TOLD

        server.answers = [answer]
        analyst = EndpointAnalyst(server.url, "tiny", None, chars=12_000)
        reported = Reported()
        await analyst.tell(material(*contents), reported)
        assert all(len(each["messages"][1]["content"]) < 13_000 for each in server.asked)
        for day in range(1, 29):
            assert server.text.count(f"day{day} ") == 1
        assert "note" in server.asked[-1]["messages"][1]["content"]
        assert "day1 " not in server.asked[-1]["messages"][1]["content"]
        assert len(reported.progress) == len(server.asked)
        assert server.keys[0] is None

    async def test_an_unfit_answer_is_asked_for_again_once(self, server: ModelServer) -> None:
        server.answers = ["I would rather not.", TOLD]
        analyst = EndpointAnalyst(server.url, "tiny", None)
        assert (await analyst.tell(material(*PAGES), Reported())).summary == TOLD["summary"]
        server.answers = [{**TOLD, "summary": ""}]
        with pytest.raises(AnalystFailed):
            await analyst.tell(material(*PAGES), Reported())
        assert len(server.asked) == 4

    async def test_a_fence_around_the_answer_is_taken_off(self, server: ModelServer) -> None:
        server.answers = [
            '```json\n{"summary": "s", "themes": [], "milestones": [], "suggestions": []}\n```'
        ]
        account = await EndpointAnalyst(server.url, "t", None).tell(material(*PAGES), Reported())
        assert account == Account(summary="s", generated_by="tiny-2026-01")

    async def test_a_server_without_schemas_is_asked_for_json(self, server: ModelServer) -> None:
        server.answers = [400, TOLD]
        await EndpointAnalyst(server.url, "t", None).tell(material(*PAGES), Reported())
        assert server.asked[1]["response_format"] == {"type": "json_object"}

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_one_that_is_busy_may_be_asked_later(
        self, server: ModelServer, status: int
    ) -> None:
        server.answers = [status, TOLD]
        analyst = EndpointAnalyst(server.url, "t", None)
        assert (await analyst.tell(material(*PAGES), Reported())).summary == TOLD["summary"]
        server.answers = [status]
        with pytest.raises(AnalystUnavailable):
            await analyst.tell(material(*PAGES), Reported())

    @pytest.mark.parametrize("status", [401, 403, 404])
    async def test_one_that_refuses_is_not_asked_again(
        self, server: ModelServer, status: int
    ) -> None:
        server.answers = [status]
        with pytest.raises(AnalystFailed):
            await EndpointAnalyst(server.url, "t", None).tell(material(*PAGES), Reported())
        assert len(server.asked) == 1

    async def test_one_that_is_not_there_may_be_asked_later(self) -> None:
        analyst = EndpointAnalyst("http://127.0.0.1:9/v1", "t", None)
        with pytest.raises(AnalystUnavailable):
            await analyst.tell(material(*PAGES), Reported())
