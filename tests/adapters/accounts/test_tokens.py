"""Tokens, and every way we know of to pass off another one as ours."""

from __future__ import annotations

import base64
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from adapters.authentication import EndedLogins, TokenAuthenticator
from adapters.http.problems import Problem
from adapters.tokens import (
    AUDIENCE,
    ISSUER,
    LIFETIME,
    SKEW,
    KeyRing,
    SignedTokens,
    SigningKeyUnusable,
    private_key,
)
from commands.credentials import Subject
from tests.support.accounts import MemoryCredentials

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SUBJECT = Subject(UUID(int=1), UUID(int=2), UUID(int=3), "basic", ("journal:read", "ops:read"))


class Gate:
    """A key, who signs with it and who checks; ``clock`` may be turned."""

    def __init__(self, pem: bytes) -> None:
        self.clock = NOW.timestamp()
        self.key = private_key(pem)
        self.store = MemoryCredentials()
        self.tokens = SignedTokens(self.store)
        self.keys = KeyRing(self.store)
        self.ended = EndedLogins(self.store, self.keys, dsn="", role="")
        self.gate = TokenAuthenticator(self.keys, self.ended, size=3, clock=lambda: self.clock)
        self._pem = pem

    async def open(self) -> Gate:
        await self.tokens.ensure_key(self._pem)
        await self.ended.poll()
        self.kid = self.store.keys[0][0]
        return self

    async def enter(self, token: str, scheme: str = "Bearer") -> Any:
        headers = {b"authorization": f"{scheme} {token}".encode("latin-1")}
        return await self.gate.authenticate(headers, None)

    async def refused(self, token: str) -> str:
        with pytest.raises(Problem) as problem:
            await self.enter(token)
        assert problem.value.status == 401
        assert problem.value.headers["www-authenticate"].startswith("Bearer")
        return problem.value.code

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.clock)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(UUID(int=1)),
            "sid": str(UUID(int=3)),
            "tenant": str(UUID(int=2)),
            "tier": "basic",
            "permissions": ["journal:read"],
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
            "jti": "x",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def forge(self, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> str:
        whole = {"alg": "RS256", "typ": "at+jwt", "kid": self.kid, **(header or {})}
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(
            whole, self.claims(**changes), key or self.key, [whole["alg"]], default_type=None
        )


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
async def gate(signing_key: bytes) -> Gate:
    return await Gate(signing_key).open()


async def test_a_token_says_who_it_is_and_is_remembered(gate: Gate) -> None:
    token = await gate.tokens.access(SUBJECT, NOW)
    headers = {b"authorization": b"Bearer " + token.encode()}
    assert gate.gate.cached(headers) is None
    principal = await gate.gate.authenticate(headers, None)
    assert (principal.user_id, principal.tenant_id) == (SUBJECT.user_id, SUBJECT.tenant_id)
    assert principal.login_id == SUBJECT.login_id
    assert principal.permissions == {"journal:read", "ops:read"}
    assert gate.gate.cached(headers) is principal


async def test_the_forged_token_that_changes_nothing_is_good(gate: Gate) -> None:
    """So that what follows fails for its one difference."""
    assert (await gate.enter(gate.forge())).user_id == UUID(int=1)
    assert (await gate.enter(gate.forge(), scheme="bearer")).user_id == UUID(int=1)


async def test_the_algorithm_none_is_refused(gate: Gate) -> None:
    payload = b64(json.dumps(gate.claims()).encode())
    for alg in ("none", "None", "NONE", ""):
        header = b64(json.dumps({"alg": alg, "typ": "at+jwt", "kid": gate.kid}).encode())
        for signature in ("", gate.forge().rpartition(".")[2]):
            await gate.refused(f"{header}.{payload}.{signature}")


async def test_a_mac_by_the_public_key_is_refused(gate: Gate) -> None:
    public = gate.key.as_pem(private=False)
    for key in (public, gate.store.keys[0][2].encode(), b""):
        head = b64(json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": gate.kid}).encode())
        signed = f"{head}.{b64(json.dumps(gate.claims()).encode())}"
        mac = b64(hmac.digest(key, signed.encode(), "sha256"))
        await gate.refused(f"{signed}.{mac}")


async def test_other_algorithms_by_the_right_key_are_refused(gate: Gate) -> None:
    for alg in ("RS384", "RS512", "PS256"):
        await gate.refused(gate.forge({"alg": alg}))
    elliptic = ECKey.generate_key("P-256")
    await gate.refused(gate.forge({"alg": "ES256"}, key=elliptic))


async def test_a_foreign_key_is_refused_whatever_it_calls_itself(gate: Gate) -> None:
    foreign = RSAKey.generate_key(2048)
    public = foreign.as_dict(private=False)
    for header in (
        {},
        {"kid": foreign.thumbprint()},
        {"kid": "../../dev/null"},
        {"kid": ""},
        {"kid": None},
        {"jwk": public},
        {"jku": "https://example.com/jwks.json"},
        {"x5u": "https://example.com/cert.pem"},
        {"x5c": ["AAAA"]},
    ):
        await gate.refused(gate.forge(header, key=foreign))


async def test_a_header_with_anything_more_is_refused(gate: Gate) -> None:
    await gate.refused(gate.forge({"jwk": gate.key.as_dict(private=False)}))
    header = {"alg": "RS256", "typ": "at+jwt", "kid": gate.kid, "crit": ["exp"], "b64": False}
    _, payload, signature = gate.forge().split(".")
    await gate.refused(f"{b64(json.dumps(header).encode())}.{payload}.{signature}")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody-else"},
        {"iss": None},
        {"aud": "another-api"},
        {"aud": None},
        {"aud": [AUDIENCE, "another-api"]},
        {"sub": "not-a-uuid"},
        {"sub": None},
        {"sid": None},
        {"tenant": None},
        {"exp": None},
        {"nbf": None},
        {"iat": None},
        {"exp": "9999999999"},
        {"exp": 1e999},
        {"permissions": "ops:read"},
        {"permissions": None},
    ],
)
async def test_claims_that_are_not_ours_are_refused(gate: Gate, changes: dict[str, Any]) -> None:
    assert await gate.refused(gate.forge(**changes)) == "UNAUTHENTICATED"


async def test_other_types_of_token_are_refused(gate: Gate) -> None:
    for kind in ("JWT", "jwt", "logout+jwt", "at+JWT ", None):
        await gate.refused(gate.forge({"typ": kind}))


async def test_a_token_holds_for_its_time_only(gate: Gate) -> None:
    now = int(gate.clock)
    assert await gate.refused(gate.forge(exp=now)) == "TOKEN_EXPIRED"
    assert await gate.refused(gate.forge(nbf=now + SKEW + 1)) == "UNAUTHENTICATED"
    assert await gate.refused(gate.forge(iat=now + SKEW + 1)) == "UNAUTHENTICATED"
    await gate.enter(gate.forge(nbf=now + SKEW))


async def test_a_remembered_token_expires_too(gate: Gate) -> None:
    token = await gate.tokens.access(SUBJECT, NOW)
    headers = {b"authorization": b"Bearer " + token.encode()}
    await gate.gate.authenticate(headers, None)
    gate.clock += LIFETIME - 1
    assert gate.gate.cached(headers) is not None
    gate.clock += 1
    assert gate.gate.cached(headers) is None
    assert await gate.refused(token) == "TOKEN_EXPIRED"


async def test_the_tokens_of_an_ended_login_are_refused_remembered_or_not(gate: Gate) -> None:
    token = await gate.tokens.access(SUBJECT, NOW)
    headers = {b"authorization": b"Bearer " + token.encode()}
    await gate.gate.authenticate(headers, None)
    await gate.store.end(SUBJECT.login_id)
    await gate.ended.poll()
    assert gate.gate.cached(headers) is None
    assert await gate.refused(token) == "UNAUTHENTICATED"


async def test_changed_tokens_are_refused(gate: Gate) -> None:
    token = gate.forge()
    header, payload, signature = token.split(".")
    richer = b64(json.dumps(gate.claims(permissions=["ops:write"])).encode())
    for changed in (
        f"{header}.{richer}.{signature}",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}",
        f"{header}.{payload}.{signature}.x",
        f"{header}.{payload}.",
        f"{token}x" * 50,
        "." * 5000,
        "..",
        "",
        "é.é.é",
        header,
    ):
        await gate.refused(changed)


async def test_other_ways_to_authenticate_are_refused(gate: Gate) -> None:
    for headers in (
        {},
        {b"authorization": b"Basic YTpi"},
        {b"authorization": b"Bearer"},
        {b"authorization": b""},
        {b"x-api-key": b"ms_unknown"},
    ):
        assert gate.gate.cached(headers) is None
        with pytest.raises(Problem) as problem:
            await gate.gate.authenticate(headers, None)
        assert problem.value.status == 401


async def test_no_more_tokens_are_remembered_than_allowed(gate: Gate) -> None:
    made = []
    for number in range(5):
        headers = {b"authorization": b"Bearer " + gate.forge(jti=str(number)).encode()}
        await gate.gate.authenticate(headers, None)
        made.append(headers)
        assert gate.gate.cached(made[0]) is not None  # used all the time, so it stays
    assert [gate.gate.cached(headers) is not None for headers in made] == [
        True,
        False,
        False,
        True,
        True,
    ]


async def test_a_key_that_was_made_meanwhile_is_found(gate: Gate) -> None:
    other = RSAKey.generate_key(2048)
    kid = other.thumbprint()
    jwk = json.dumps({**other.as_dict(private=False), "kid": kid})
    gate.store.keys.append((kid, other.as_pem(private=True), jwk))
    before = time.monotonic()
    await gate.keys.load()
    assert time.monotonic() - before < 5
    await gate.tokens.load()
    assert (await gate.enter(await gate.tokens.access(SUBJECT, NOW))).user_id == SUBJECT.user_id
    await gate.enter(gate.forge())
    assert [key["kid"] for key in json.loads(gate.keys.jwks)["keys"]] == [kid, gate.kid]


async def test_the_key_set_holds_public_keys_only(gate: Gate) -> None:
    [key] = json.loads(gate.keys.jwks)["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")


async def test_the_first_key_is_made_where_none_is_given() -> None:
    store = MemoryCredentials()
    tokens = SignedTokens(store)
    await tokens.ensure_key()
    await SignedTokens(store).ensure_key()
    assert len(store.keys) == 1


def test_a_first_key_that_cannot_serve_is_refused(signing_key: bytes) -> None:
    public = private_key(signing_key).as_pem(private=False)
    short = generate_private_key(65537, 1024).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    elliptic = ECKey.generate_key("P-256").as_pem(private=True)
    for pem in (public, short, elliptic, b"", b"nonsense"):
        with pytest.raises(SigningKeyUnusable):
            private_key(pem)


def test_refresh_tokens_have_256_bits_and_are_known_by_their_hash(signing_key: bytes) -> None:
    tokens = SignedTokens(MemoryCredentials())
    token, hashed = tokens.refresh()
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert hashed == tokens.hash_of(token)
    assert tokens.refresh()[0] != token
