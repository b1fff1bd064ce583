"""People who use both APIs in this process, with their logins."""

from __future__ import annotations

from typing import Any

import httpx

from tests.support.accounts import PASSWORD
from tests.support.waiting import eventually_async

CONSENT = {
    "terms_version": "v1.0",
    "privacy_policy_version": "v1.0",
    "data_processing": True,
    "marketing": False,
}

_numbers = iter(range(1, 10_000))


def registration(**changes: Any) -> dict[str, Any]:
    body = {
        "email": f"ada{next(_numbers)}@example.com",
        "password": PASSWORD,
        "display_name": "Ada",
        "timezone": "Europe/Lisbon",
        "consent": CONSENT,
    }
    return {**body, **changes}


class Somebody:
    """A person with a login."""

    def __init__(
        self, api: httpx.AsyncClient, body: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        self.api = api
        self.email = body["email"]
        self.id = answer["id"]
        self.grant: dict[str, Any] = {}
        self.token = ""  # of the last write

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.grant['access_token']}"}

    async def try_to_login(self, **fields: Any) -> httpx.Response:
        body = {"email": self.email, "password": PASSWORD, **fields}
        return await self.api.post("/v1/auth/login", json=body)

    async def login(self, **fields: Any) -> dict[str, Any]:
        answer = await self.try_to_login(**fields)
        assert answer.status_code == 200, answer.text
        self.token = answer.headers["consistency-token"]
        self.grant = answer.json()["data"]
        return self.grant

    async def me(self, **headers: str) -> httpx.Response:
        sent = {**self.headers, "consistency-token": self.token, **headers}
        return await self.api.get("/v1/me", headers={k: v for k, v in sent.items() if v})

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        sent = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        answer = await self.api.request(method, path, json=body, headers=sent)
        self.token = answer.headers.get("consistency-token", self.token)
        return answer

    async def refresh(self, token: str | None = None) -> httpx.Response:
        body = {"refresh_token": token or self.grant["refresh_token"]}
        return await self.api.post("/v1/auth/refresh", json=body)


async def again(person: Somebody, **fields: Any) -> Somebody:
    """The same person at another device: another login of theirs."""
    other = Somebody(person.api, {"email": person.email}, {"id": person.id})
    await other.login(**fields)
    return other


async def somebody(api: httpx.AsyncClient, **changes: Any) -> Somebody:
    body = registration(**changes)
    answer = await api.post("/v1/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    made = Somebody(api, body, answer.json()["data"])
    await made.login()
    return made


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["success"] is False
    found: dict[str, Any] = answer.json()
    return found


def faults(answer: httpx.Response) -> set[tuple[str, str]]:
    found = problem(answer, 422, "VALIDATION_FAILED")
    return {(fault["field"], fault["code"]) for fault in found["errors"]}


async def ends(get: Any) -> httpx.Response:
    """The refusal, once the login has ended for this API: that must be within three seconds."""
    answers: list[httpx.Response] = []

    async def refused() -> bool:
        answers.append(await get())
        return answers[-1].status_code == 401

    await eventually_async(refused, within=3)
    return answers[-1]
