"""A house with the making of insights: both APIs and a worker's parts in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import msgspec

from adapters.insight_views import append_views
from bootstrap.settings import Settings
from bootstrap.wiring.insights import making
from commands.analyst import Analyst, Material, Progress
from domain.journal.insight import Account
from tests.support.exporting import House, Somebody, running_house
from workers.insights import Making, make_insight


class Remembering:
    """An analyst that remembers what it was given, and tells what another tells."""

    def __init__(self, other: Analyst) -> None:
        self.other = other
        self.given: list[Material] = []

    async def tell(self, material: Material, progress: Progress) -> Account:
        self.given.append(material)
        return await self.other.tell(material, progress)


class Telling(msgspec.Struct):
    """The house, and what makes insights in it."""

    house: House
    making: Making
    analyst: Remembering

    async def ask(
        self, person: Somebody, start: str, end: str, kind: str = "custom", **headers: str
    ) -> httpx.Response:
        body = {"insight_type": kind, "start_date": start, "end_date": end}
        return await person.call("POST", "/v1/journal/insights", body, **headers)

    async def insight(
        self, person: Somebody, start: str, end: str, kind: str = "custom"
    ) -> dict[str, Any]:
        """An insight, from the asking to the answer."""
        accepted = await self.ask(person, start, end, kind)
        operation_id = UUID(accepted.json()["data"]["id"])
        await make_insight(operation_id, self.making)
        operation = await person.get(f"/v1/operations/{operation_id}")
        assert operation["state"] == "succeeded", operation
        found: dict[str, Any] = await self.shown(person, operation["result"]["insight_id"])
        return found

    async def shown(self, person: Somebody, insight_id: object) -> Any:
        """The insight, with everything that has happened."""
        position = await self.house.side.operations.head()
        await self.making.freshness.passed(position, "journal.insights", within=10)
        answer = await person.call("GET", f"/v1/journal/insights/{insight_id}")
        return answer.json()["data"]

    async def appended_views(self) -> int:
        """Make events of the looks that were told so far."""
        return await append_views(self.house.side.bulk, self.house.side.bus.dispatch)


@asynccontextmanager
async def telling(settings: Settings, signing_key: bytes) -> AsyncIterator[Telling]:
    """All of it on these servers."""
    async with running_house(settings, signing_key) as house, making(house.side) as made:
        analyst = Remembering(made.analyst)
        yield Telling(house, msgspec.structs.replace(made, analyst=analyst), analyst)
