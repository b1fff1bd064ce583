"""People who register at an API in this process and call it with their tokens."""

from __future__ import annotations

import itertools
from typing import Any

import httpx

from tests.support.accounts import PASSWORD
from tests.support.people import registration

_NUMBERS = itertools.count(1)


class Newcomer:
    """Somebody with a login; ``token`` is the Consistency-Token of their last write."""

    def __init__(self, api: httpx.AsyncClient, email: str, data: dict[str, Any]) -> None:
        self.api = api
        self.email = email
        self.id: str = data["id"]
        self.tenant_id: str = data["tenant_id"]
        self.token = ""
        self.bearer = ""

    @property
    def headers(self) -> dict[str, str]:
        """Who they are."""
        return {"authorization": f"Bearer {self.bearer}"}

    async def login(self, password: str = PASSWORD) -> httpx.Response:
        """Log in; later calls are of that login."""
        body = {"email": self.email, "password": password}
        answer = await self.api.post("/v1/auth/login", json=body)
        if answer.status_code == 200:
            self.bearer = answer.json()["data"]["access_token"]
            self.token = answer.headers["consistency-token"]
        return answer

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """A call with a JSON body; ``if_match`` and the like are headers."""
        sent = {**self.headers, **{name.replace("_", "-"): v for name, v in headers.items()}}
        answer = await self.api.request(method, path, json=body, headers=sent)
        self.token = answer.headers.get("consistency-token", self.token)
        return answer

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """A GET that includes their last write."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent |= {"consistency-token": self.token, "prefer": "wait=10"}
        return await self.api.get(path, headers=self.headers | sent)


async def newcomer(api: httpx.AsyncClient) -> Newcomer:
    """Somebody new, logged in."""
    email = f"newcomer{next(_NUMBERS)}@example.org"
    answer = await api.post("/v1/auth/register", json=registration(email, password=PASSWORD))
    assert answer.status_code == 201, answer.text
    made = Newcomer(api, email, answer.json()["data"])
    logged_in = await made.login()
    assert logged_in.status_code == 200, logged_in.text
    return made


async def logged_in(api: httpx.AsyncClient, email: str, password: str) -> Newcomer:
    """Somebody who is registered already."""
    made = Newcomer(api, email, {"id": "", "tenant_id": ""})
    answer = await made.login(password)
    assert answer.status_code == 200, answer.text
    me = (await made.get("/v1/me")).json()["data"]
    made.id, made.tenant_id = me["id"], me["tenant_id"]
    return made
