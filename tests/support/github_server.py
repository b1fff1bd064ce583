"""An OAuth server that behaves like GitHub, over real HTTP on a loopback port.

Owns what GitHub checks: the client and its secret, that a code is used once, and PKCE.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

CLIENT_ID, CLIENT_SECRET = "mindstream-test", "a secret of the test's"


class GithubServer:
    """``user`` and ``emails`` are who is logged in at this GitHub.

    ``answers`` False breaks it; ``talks`` makes it say too much, without saying how much first.
    """

    def __init__(self) -> None:
        self.url = ""
        self.user: dict[str, Any] = {}
        self.emails: list[dict[str, Any]] = []
        self.answers = True
        self.talks = False
        self.tokens: list[str] = []
        self._codes: dict[str, str] = {}

    def log_in(self, number: int, email: str, *, verified: bool = True, **user: Any) -> None:
        """Somebody uses their browser at GitHub."""
        self.user = {"id": number, "login": f"ada-{number}", "name": "Ada L.", **user}
        self.emails = [
            {"email": "other@example.net", "primary": False, "verified": True},
            {"email": email, "primary": True, "verified": verified},
        ]

    async def authorize(self, request: web.Request) -> web.Response:
        asked = request.query
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        assert "user:email" in asked["scope"]
        code = secrets.token_hex(10)
        self._codes[code] = asked["code_challenge"]
        back = urlencode({"code": code, "state": asked["state"], "iss": self.url})
        raise web.HTTPFound(f"http://api/v1/auth/github/callback?{back}")

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        digest = sha256(str(form["code_verifier"]).encode()).digest()
        good = (form["client_id"], form["client_secret"]) == (
            CLIENT_ID,
            CLIENT_SECRET,
        ) and self._codes.pop(str(form["code"]), None) == urlsafe_b64encode(digest).rstrip(
            b"="
        ).decode()
        if not good:  # GitHub says so with a 200
            return web.json_response({"error": "bad_verification_code"})
        self.tokens.append(f"gho_{secrets.token_hex(18)}")
        return web.json_response({"access_token": self.tokens[-1], "token_type": "bearer"})

    async def who(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        if not self.talks:
            return web.json_response(self.user)
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        await answer.write(json.dumps(self.user).encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                await answer.write(b" " * 65_536)
        return answer

    async def addresses(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.json_response(self.emails)

    def _check(self, request: web.Request) -> None:
        if not self.answers:
            raise web.HTTPBadGateway
        if request.headers["Authorization"] != f"Bearer {self.tokens[-1]}":
            raise web.HTTPUnauthorized


@asynccontextmanager
async def github_server() -> AsyncIterator[GithubServer]:
    """The server, running."""
    server = GithubServer()
    app = web.Application()
    app.add_routes(
        [
            web.get("/login/oauth/authorize", server.authorize),
            web.post("/login/oauth/access_token", server.token),
            web.get("/api/v3/user", server.who),
            web.get("/api/v3/user/emails", server.addresses),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
