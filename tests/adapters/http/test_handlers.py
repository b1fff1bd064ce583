from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar, Request
from litestar.exceptions import ImproperlyConfiguredException
from litestar.testing import TestClient

from adapters.http.app import application
from adapters.http.handlers import delete, get
from adapters.http.problems import Problem
from adapters.http.responses import Answer, bare, no_content


class Broken(Exception):
    pass


@get("/things/{name:str}")
async def thing(request: Request[Any, Any, Any]) -> Answer:
    name: str = request.path_params["name"]
    if name == "broken":
        raise Broken
    return bare(name.encode(), "text/plain", status=203)


@delete("/things/{name:str}")
async def gone(request: Request[Any, Any, Any]) -> Answer:
    return no_content(request)


def test_an_answer_is_sent_as_it_is() -> None:
    with TestClient(application([thing, gone])) as client:
        answer = client.get("/things/kettle")
        assert (answer.status_code, answer.content) == (203, b"kettle")
        assert answer.headers["content-type"] == "text/plain"
        assert client.delete("/things/kettle").status_code == 204


def test_exceptions_are_answered_as_the_application_says() -> None:
    app = application([thing], errors={Broken: lambda error: Problem("CONFLICT")})
    with TestClient(app) as client:
        assert [client.get("/things/broken").status_code for _ in range(2)] == [409, 409]


def test_a_handler_that_asks_for_more_is_refused() -> None:
    @get("/things")
    async def things(request: Request[Any, Any, Any], limit: int) -> Answer:
        return bare(b"")

    with pytest.raises(ImproperlyConfiguredException, match="only the request"):
        Litestar([things])
