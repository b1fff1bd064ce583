"""GitHub's OAuth over HTTP (``commands.github.Github``), and the table of links to it.

The server is a setting: github.com, a GitHub Enterprise Server, or one of a test. Since operators
choose it and nobody else can, it may be on a private network, and calls to it are not made through
``outgoing``; like there, redirects are not followed and answers have a limit. Its tokens are kept
sealed and are never logged; nor is anything else that it answers.
"""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
import msgspec
import psycopg

from adapters.postgres.pipeline import Pipeline, Statement
from adapters.sealing import Sealer
from commands.credentials import Unavailable
from commands.github import GithubAccount, GithubRefused

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds for each of the three calls of a login."""
PUBLIC = "https://github.com"
_PUBLIC_API = "https://api.github.com"
_LONGEST = 1 << 20

LINKED = Statement(
    "accounts_github_linked", "SELECT user_id FROM accounts_github WHERE github_id = $1", ("int8",)
)
LINK = Statement(
    "accounts_github_link",
    """
    INSERT INTO accounts_github (github_id, user_id, token)
    SELECT $1, $2, $3
    WHERE NOT EXISTS (SELECT FROM accounts_github WHERE user_id = $2 AND github_id <> $1)
    ON CONFLICT (github_id) DO UPDATE SET token = excluded.token
    WHERE accounts_github.user_id = excluded.user_id
    RETURNING 1
    """,
    ("int8", "uuid", "bytea"),
)


class _Token(msgspec.Struct):
    access_token: str


class _User(msgspec.Struct):
    id: int
    login: str
    name: str | None = None


class _Email(msgspec.Struct):
    email: str
    primary: bool
    verified: bool


class GithubOverHttp:
    """GitHub at ``url``, where this platform is known as ``client_id``."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self._url = url.rstrip("/")
        self._api = _PUBLIC_API if self._url == PUBLIC else f"{self._url}/api/v3"
        self._client_id = client_id
        self._client_secret = client_secret

    def authorize_url(self, state: str, challenge: str) -> str:
        """Where to send a browser. GitHub sends it back to the address registered with it."""
        asked = {
            "client_id": self._client_id,
            "scope": "user:email",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self._url}/login/oauth/authorize?{urlencode(asked)}"

    async def account(self, code: str, verifier: str) -> GithubAccount:
        """Who came back with this code.

        Raises:
            GithubRefused: the code is not good, or not for this ``verifier``.
            Unavailable: GitHub does not answer, or not as it is documented to.
        """
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            form = {
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "code": code,
                "code_verifier": verifier,
            }
            url = f"{self._url}/login/oauth/access_token"
            answer = await _ask(session, "POST", url, data=form)
            try:
                token = msgspec.json.decode(answer, type=_Token).access_token
            except msgspec.MsgspecError:  # a refusal is a 200 with an `error` in it
                raise GithubRefused from None
            headers = {"Authorization": f"Bearer {token}"}
            user = _read(await _ask(session, "GET", f"{self._api}/user", headers=headers), _User)
            emails = _read(
                await _ask(session, "GET", f"{self._api}/user/emails", headers=headers),
                list[_Email],
            )
        primary = next((each.email for each in emails if each.primary and each.verified), None)
        return GithubAccount(
            id=user.id, login=user.login, name=user.name, email=primary, token=token
        )


class PostgresGithubLinks:
    """``commands.github.GithubLinks``; ``pipeline`` connects as ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline, sealer: Sealer) -> None:
        self._pipeline = pipeline
        self._sealer = sealer

    async def linked(self, github_id: int) -> UUID | None:
        """Whose account it opens."""
        [rows] = await self._pipeline.run((LINKED, (github_id,)))
        return rows[0][0] if rows else None

    async def link(self, github_id: int, user_id: UUID, token: str) -> bool:
        """Keep the link and the token; False where either side is linked to another."""
        sealed = self._sealer.seal(token.encode(), token_context(user_id))
        try:
            [rows] = await self._pipeline.run((LINK, (github_id, user_id, sealed)))
        except psycopg.errors.UniqueViolation:  # another link was first
            return False
        return bool(rows)


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    data: Any = None,
) -> bytes:
    sent = {"Accept": "application/json", "User-Agent": "mindstream", **(headers or {})}
    try:
        async with session.request(
            method, url, headers=sent, data=data, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                if method == "POST" and 400 <= answer.status < 500:
                    raise GithubRefused
                raise Unavailable(f"GitHub answered {answer.status}")
            body = bytearray()
            async for part in answer.content.iter_chunked(65_536):
                body += part
                if len(body) > _LONGEST:
                    raise Unavailable("GitHub answered at length")
            return bytes(body)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable("GitHub does not answer") from error


def _read(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.MsgspecError:
        raise Unavailable("GitHub answered something else") from None


def token_context(user_id: UUID) -> bytes:
    """What a token is sealed with, beside the key."""
    return b"accounts/github/" + user_id.bytes
