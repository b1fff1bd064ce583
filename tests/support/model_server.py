"""A server with OpenAI's interface, on loopback, that answers what it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

Answer = dict[str, Any] | str | int
"""What a model says (JSON or any text), or a status with which the server refuses."""

TOLD: dict[str, Any] = {
    "summary": "You saw Ana twice.",
    "themes": [
        {"name": "Ana", "frequency": 2, "sentiment": 0.5, "related_words": ["river", "dinner"]}
    ],
    "milestones": ["5 March: the first dinner."],
    "suggestions": ["Write about the river."],
}


class ModelServer:
    """Remembers what it was asked; ``answers`` are given in turn, the last one for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answers: list[Answer | Callable[[dict[str, Any]], Answer]] = [TOLD]

    async def complete(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        self.asked.append(body)
        self.keys.append(request.headers.get("authorization"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            answer = answer(body)
        if isinstance(answer, int):
            return web.json_response({"error": {"message": "no"}}, status=answer)
        content = answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()
        choice = {"index": 0, "message": {"role": "assistant", "content": content}}
        return web.json_response({"id": "x", "model": "tiny-2026-01", "choices": [choice]})

    @property
    def text(self) -> str:
        """All that was ever sent."""
        return repr(self.asked)


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """It runs as long as the context lasts."""
    server = ModelServer()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()
