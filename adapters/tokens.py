"""Access tokens (JWT, RS256) and refresh tokens: made, published as JWKS, and checked.

Owns the claims and the strict check of them. A token is good only if its header has exactly
``alg`` RS256, ``typ`` at+jwt and a ``kid`` that we published, and its claims name our issuer,
audience and a time that holds. Nothing in a token says where its key is to be had.

Keys lie in the write database, private ones sealed; the first comes from a file or is made.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.util import urlsafe_b64decode

from adapters.ending import end
from commands.credentials import Subject

log = structlog.get_logger()

ISSUER = "mindstream-auth"
AUDIENCE = "mindstream-api"
LIFETIME = 15 * 60
"""Seconds for which an access token is good."""
SIGNS_AFTER = 8.0
"""Seconds for which a new key is published before it signs."""
SKEW = 5
"""Seconds by which another machine's clock may be ahead of ours."""
_TYPE = "at+jwt"
_LONGEST = 8_192
_LOOK = 2.0
"""Seconds between looks for a newer key to sign with."""
_SMALLEST_KEY = 2_048


class PublicKey(msgspec.Struct, frozen=True):
    """A key that tokens are checked with; ``jwk`` is its JSON."""

    kid: str
    jwk: str


class KeyStore(Protocol):
    """Keeps the signing keys; ``adapters.credentials.PostgresCredentials`` does."""

    async def keep_first_key(self, kid: str, private_pem: bytes, public_jwk: str) -> None:
        """Keep this signing key unless there is one already."""
        ...

    async def rotate_key(self, kid: str, private_pem: bytes, public_jwk: str) -> None:
        """Keep this signing key, and retire the others."""
        ...

    async def signing_key(self) -> tuple[str, bytes] | None:
        """The id and PEM of the key that signs now; None where there is none yet."""
        ...

    async def public_keys(self, overlap: float) -> list[PublicKey]:
        """The keys that tokens are checked with, and those retired within ``overlap`` seconds."""
        ...


class Refused(Exception):
    """Not a token of ours that is good now."""


class Expired(Refused):
    """A token of ours whose time is over."""


class UnknownKey(Refused):
    """Signed by a key that we do not have; it may have been published a moment ago."""


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: Literal["RS256"]
    typ: Literal["at+jwt"]
    kid: str


class Claims(msgspec.Struct, frozen=True):
    """What an access token says; times are in seconds of the Unix epoch."""

    iss: str
    aud: str
    sub: UUID
    sid: UUID
    tenant: UUID
    tier: str
    permissions: tuple[str, ...]
    iat: int
    nbf: int
    exp: int
    jti: str


class SigningKeyUnusable(Exception):
    """The file of the first signing key holds no RSA private key of at least 2,048 bits."""


def private_key(pem: bytes) -> RSAKey:
    """Read an RSA private key.

    Raises:
        SigningKeyUnusable: it is none, or too short.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningKeyUnusable("the signing key is no unencrypted private key in PEM") from error
    if not isinstance(key, RSAPrivateKey) or key.key_size < _SMALLEST_KEY:
        raise SigningKeyUnusable(f"the signing key is no RSA key of ≥ {_SMALLEST_KEY} bits")
    return RSAKey.import_key(pem)


class KeyRing:
    """The public keys, as last read. ``overlap`` keeps a retired one until its tokens are over."""

    def __init__(self, store: KeyStore, *, overlap: float = LIFETIME + 60) -> None:
        self._store = store
        self._overlap = overlap
        self._keys: dict[str, RSAKey] = {}
        self._loaded_at = float("-inf")
        self._lock = asyncio.Lock()
        self._jwks = b'{"keys":[]}'

    async def load(self, *, unless_within: float = 0.0) -> None:
        """Read the keys again, unless that was done within so many seconds."""
        async with self._lock:
            if time.monotonic() - self._loaded_at < unless_within:
                return
            rows = await self._store.public_keys(self._overlap)
            jwks = [msgspec.json.decode(row.jwk) for row in rows]
            self._keys = {
                row.kid: self._keys.get(row.kid) or RSAKey.import_key(jwk)
                for row, jwk in zip(rows, jwks, strict=True)
            }
            self._jwks = msgspec.json.encode({"keys": jwks})
            self._loaded_at = time.monotonic()

    @property
    def jwks(self) -> bytes:
        """The public keys as a JWK set, newest first (JSON)."""
        return self._jwks

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def signed(self, text: str) -> bytes | None:
        """The payload of what ``SignedTokens.sign`` made with one of these keys, else None."""
        try:
            kid = jws.extract_compact(text.encode()).headers().get("kid")
            key = self._keys.get(str(kid))
            if key is None:
                return None
            return jws.deserialize_compact(text, key, ["RS256"]).payload
        except (JoseError, ValueError):
            return None

    def verify(self, token: str, now: float) -> Claims:
        """The claims of a good token; takes some 0.1 ms.

        Raises:
            Refused: or one of its kinds.
        """
        if len(token) > _LONGEST:
            raise Refused("too long")
        try:
            header = msgspec.json.decode(
                urlsafe_b64decode(token.split(".", 1)[0].encode("ascii")), type=_Header
            )
        except (ValueError, UnicodeError, msgspec.MsgspecError) as error:
            raise Refused("header") from error
        key = self._keys.get(header.kid)
        if key is None:
            raise UnknownKey("kid")
        try:
            decoded = jwt.decode(token, key, algorithms=["RS256"])
            claims = msgspec.convert(decoded.claims, Claims)
        except (JoseError, ValueError, msgspec.MsgspecError) as error:
            raise Refused("signature or claims") from error
        if claims.iss != ISSUER or claims.aud != AUDIENCE:
            raise Refused("issuer or audience")
        if max(claims.nbf, claims.iat) > now + SKEW:
            raise Refused("not yet")
        if claims.exp <= now:
            raise Expired("expired")
        return claims


class SignedTokens:
    """``commands.credentials.Tokens``: makes tokens with the newest key."""

    lifetime = LIFETIME

    def __init__(self, store: KeyStore, *, new_id: Callable[[], UUID] = uuid4) -> None:
        self._store = store
        self._new_id = new_id
        self._key: RSAKey | None = None
        self._kid = ""

    async def ensure_key(self, first: bytes | None = None) -> None:
        """See to it that there is a key: ``first`` (PEM) or a new one, where there is none yet.

        Raises:
            SigningKeyUnusable: ``first`` is needed and is no private RSA key.
        """
        await self.load()
        if self._key is None:
            await self._store.keep_first_key(
                *_described(await asyncio.to_thread(_first_key, first))
            )
            await self.load()  # another process may have been first
            log.info("signing_key_made", kid=self._kid)

    async def rotate(self) -> tuple[str, float]:
        """Make a new key; its id, and in how many seconds it signs."""
        described = _described(await asyncio.to_thread(_first_key, None))
        await self._store.rotate_key(*described)
        return described[0], SIGNS_AFTER

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Take up new keys as long as the context lasts."""
        task = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            await end(task)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await self.load()
            except Exception as error:  # noqa: BLE001 - no database, no key: the next look may have it
                log.warning("signing_key_not_loaded", reason=type(error).__name__)

    async def load(self) -> None:
        """Take up the newest key that has been published long enough."""
        row = await self._store.signing_key()
        if row is not None and row[0] != self._kid:
            self._key, self._kid = RSAKey.import_key(row[1]), row[0]

    async def access(self, subject: Subject, now: datetime) -> str:
        """A signed access token; the signature costs a millisecond, on a thread."""
        key = self._key
        if key is None:
            raise RuntimeError("ensure_key comes first")
        issued = int(now.timestamp())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(subject.user_id),
            "sid": str(subject.login_id),
            "tenant": str(subject.tenant_id),
            "tier": subject.tier,
            "permissions": list(subject.permissions),
            "iat": issued,
            "nbf": issued,
            "exp": issued + LIFETIME,
            "jti": str(self._new_id()),
        }
        header = {"alg": "RS256", "typ": _TYPE, "kid": self._kid}
        return await asyncio.to_thread(jwt.encode, header, claims, key, ["RS256"])

    async def sign(self, payload: bytes) -> str:
        """A JWS (compact) of the payload; of a type that no token has."""
        key = self._key
        if key is None:
            await self.load()
            key = self._key
        if key is None:
            raise RuntimeError("ensure_key comes first")
        header = {"alg": "RS256", "typ": "JOSE", "kid": self._kid}
        return await asyncio.to_thread(jws.serialize_compact, header, payload, key, ["RS256"])

    def refresh(self) -> tuple[str, bytes]:
        """256 random bits, and their hash. So many cannot be guessed from an unsalted hash."""
        token = secrets.token_urlsafe(32)
        return token, self.hash_of(token)

    def hash_of(self, refresh_token: str) -> bytes:
        """The hash by which a refresh token is known."""
        return sha256(refresh_token.encode("utf-8", "surrogatepass")).digest()


def _described(key: RSAKey) -> tuple[str, bytes, str]:
    """A key's id, its PEM, and the JSON that is published of it."""
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "RS256"}
    return kid, key.as_pem(private=True), msgspec.json.encode(public).decode()


def _first_key(pem: bytes | None) -> RSAKey:
    return RSAKey.generate_key(_SMALLEST_KEY) if pem is None else private_key(pem)
