"""Passwords, logins, refresh tokens and signing keys in tables of the write database.

``commands.credentials.Credentials``, and the store of the signing keys that ``tokens`` uses. Times
are the database's, so that processes on several machines agree. An end of a login is told to every
process by ``NOTIFY mindstream_logins, '<login id>'``; those that miss it poll.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from adapters.postgres.pipeline import Pipeline, Statement
from adapters.sealing import Sealer
from adapters.tokens import SIGNS_AFTER, PublicKey
from commands.credentials import NewLogin, Rotation

CHANNEL = "mindstream_logins"
"""Where the ids of ended logins are told."""
LOGIN_LIFETIME = timedelta(days=30)
"""A login that is not refreshed for so long expires."""

SET_PASSWORD = Statement(
    "accounts_set_password",
    "INSERT INTO accounts_credentials (user_id, password_hash) VALUES ($1, $2)"
    " ON CONFLICT (user_id) DO UPDATE"
    " SET password_hash = excluded.password_hash, changed_at = now()",
    ("uuid", "bytea"),
)
PASSWORD = Statement(
    "accounts_password",
    "SELECT password_hash FROM accounts_credentials WHERE user_id = $1",
    ("uuid",),
)
FORGET = Statement(
    "accounts_forget", "DELETE FROM accounts_credentials WHERE user_id = $1 RETURNING 1", ("uuid",)
)
BEGIN = Statement(
    "accounts_begin_login",
    "INSERT INTO accounts_logins (login_id, user_id, address, agent, expires_at)"
    " VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second')",
    ("uuid", "uuid", "text", "text", "float8"),
)
FIRST_TOKEN = Statement(
    "accounts_first_token",
    "INSERT INTO accounts_refresh_tokens (hash, login_id) VALUES ($1, $2)",
    ("bytea", "uuid"),
)
ROTATE = Statement(
    "accounts_rotate",
    """
    WITH used AS (
        UPDATE accounts_refresh_tokens t SET used_at = now()
        FROM accounts_logins l
        WHERE t.hash = $1 AND t.used_at IS NULL AND l.login_id = t.login_id
          AND l.ended_at IS NULL AND l.expires_at > now()
        RETURNING t.login_id
    ), issued AS (
        INSERT INTO accounts_refresh_tokens (hash, login_id) SELECT $2, login_id FROM used
    )
    UPDATE accounts_logins l
    SET last_seen = now(), expires_at = now() + $3 * interval '1 second'
    FROM used WHERE l.login_id = used.login_id
    RETURNING l.login_id, l.user_id
    """,
    ("bytea", "bytea", "float8"),
)
# A statement of its own: of two that rotate at once the loser sees only now that it lost.
END_REUSED = Statement(
    "accounts_end_reused",
    """
    UPDATE accounts_logins l SET ended_at = coalesce(l.ended_at, now())
    FROM accounts_refresh_tokens t
    WHERE t.hash = $1 AND t.used_at IS NOT NULL AND l.login_id = t.login_id
    RETURNING l.login_id, l.user_id, pg_notify('mindstream_logins', l.login_id::text)
    """,
    ("bytea",),
)
END = Statement(
    "accounts_end_login",
    """
    UPDATE accounts_logins SET ended_at = now()
    WHERE login_id = $1 AND ended_at IS NULL AND user_id = coalesce($2, user_id)
    RETURNING pg_notify('mindstream_logins', login_id::text)
    """,
    ("uuid", "uuid"),
)
END_ALL = Statement(
    "accounts_end_logins",
    """
    UPDATE accounts_logins SET ended_at = now() WHERE user_id = $1 AND ended_at IS NULL
    RETURNING pg_notify('mindstream_logins', login_id::text)
    """,
    ("uuid",),
)
SWEEP_LOGINS = Statement(
    "accounts_sweep_logins",
    "WITH gone AS (DELETE FROM accounts_logins WHERE ended_at < $1 OR expires_at < $1"
    " RETURNING 1) SELECT count(*) FROM gone",
    ("timestamptz",),
)
SWEEP_PASSWORDS = Statement(
    "accounts_sweep_passwords",
    """
    DELETE FROM accounts_credentials c
    WHERE c.created_at < $1 AND NOT EXISTS (
        SELECT 1 FROM events e WHERE e.stream_id = 'accounts.person-' || c.user_id)
    """,
    ("timestamptz",),
)
KEYS_LOCK = Statement("accounts_keys_lock", "SELECT pg_advisory_xact_lock(7022027)", ())
FIRST_KEY = Statement(
    "accounts_first_key",
    "INSERT INTO accounts_signing_keys (kid, private_pem, public_jwk) SELECT $1, $2, $3"
    " WHERE NOT EXISTS (SELECT 1 FROM accounts_signing_keys WHERE retired_at IS NULL)",
    ("text", "bytea", "text"),
)
ROTATE_KEY = Statement(
    "accounts_rotate_key",
    """
    WITH retired AS (
        UPDATE accounts_signing_keys SET retired_at = now() WHERE retired_at IS NULL
    )
    INSERT INTO accounts_signing_keys (kid, private_pem, public_jwk) VALUES ($1, $2, $3)
    """,
    ("text", "bytea", "text"),
)
# A new key is published before it signs, so that nobody meets a token of a key not heard of.
PRIVATE_KEYS = Statement(
    "accounts_private_keys",
    """
    SELECT kid, private_pem FROM accounts_signing_keys
    WHERE coalesce(retired_at > now() - interval '30 seconds', true)
    ORDER BY created_at > now() - $1 * interval '1 second', created_at DESC, kid LIMIT 1
    """,
    ("float8",),
)
PUBLIC_KEYS = Statement(
    "accounts_public_keys",
    "SELECT kid, public_jwk FROM accounts_signing_keys"
    " WHERE coalesce(retired_at > now() - $1 * interval '1 second', true)"
    " ORDER BY created_at DESC, kid",
    ("float8",),
)
ENDED = Statement(
    "accounts_ended",
    "SELECT login_id FROM accounts_logins WHERE ended_at > now() - $1 * interval '1 second'",
    ("float8",),
)


class PostgresCredentials:
    """Everything about credentials that lies in tables.

    ``pipeline`` connects as ``mindstream_write``; as ``mindstream_read`` only ``public_keys`` and
    ``ended_within`` are allowed. ``sealer`` is None in a process that needs only those.
    """

    def __init__(self, pipeline: Pipeline, sealer: Sealer | None = None) -> None:
        self._pipeline = pipeline
        self._sealed_by = sealer

    @property
    def _sealer(self) -> Sealer:
        if self._sealed_by is None:
            raise RuntimeError("this process has no master key for credentials")
        return self._sealed_by

    async def set_password(self, user_id: UUID, password_hash: str) -> None:
        """Keep this hash instead of any before."""
        sealed = self._sealer.seal(password_hash.encode(), password_context(user_id))
        await self._pipeline.run((SET_PASSWORD, (user_id, sealed)))

    async def password_hash(self, user_id: UUID) -> str | None:
        """The hash, or None where there is none."""
        [rows] = await self._pipeline.run((PASSWORD, (user_id,)))
        if not rows:
            return None
        return self._sealer.open(rows[0][0], password_context(user_id)).decode()

    async def forget(self, user_id: UUID) -> None:
        """Delete the password of a registration that came to nothing."""
        await self._pipeline.run((FORGET, (user_id,)))

    async def drop_password(self, user_id: UUID) -> int:
        """Delete the password of somebody who is to be erased; how many there were."""
        [rows] = await self._pipeline.run((FORGET, (user_id,)))
        return len(rows)

    async def begin(self, login: NewLogin, refresh_hash: bytes) -> None:
        """Keep a login and its first refresh token."""
        seconds = LOGIN_LIFETIME.total_seconds()
        await self._pipeline.run(
            (BEGIN, (login.login_id, login.user_id, login.address, login.agent, seconds)),
            (FIRST_TOKEN, (refresh_hash, login.login_id)),
        )

    async def rotate(self, used: bytes, replacement: bytes) -> Rotation | None:
        """Exchange one refresh token for the next, once; a second use ends the login."""
        [rows] = await self._pipeline.run(
            (ROTATE, (used, replacement, LOGIN_LIFETIME.total_seconds()))
        )
        if rows:
            return Rotation(rows[0][0], rows[0][1], reused=False)
        [rows] = await self._pipeline.run((END_REUSED, (used,)))
        return Rotation(rows[0][0], rows[0][1], reused=True) if rows else None

    async def end(self, login_id: UUID, of: UUID | None = None) -> bool:
        """End the login if it is that person's; False where it had ended before."""
        [rows] = await self._pipeline.run((END, (login_id, of)))
        return bool(rows)

    async def end_all(self, user_id: UUID) -> int:
        """End every login of the person; how many there were."""
        [rows] = await self._pipeline.run((END_ALL, (user_id,)))
        return len(rows)

    async def sweep(self, before: datetime) -> int:
        """Delete what ended, expired or was left behind before that moment."""
        swept, _ = await self._pipeline.run((SWEEP_LOGINS, (before,)), (SWEEP_PASSWORDS, (before,)))
        return int(swept[0][0])

    async def keep_first_key(self, kid: str, private_pem: bytes, public_jwk: str) -> None:
        """Keep this signing key unless there is one already."""
        sealed = self._sealer.seal(private_pem, key_context(kid))
        await self._pipeline.run((KEYS_LOCK, ()), (FIRST_KEY, (kid, sealed, public_jwk)))

    async def rotate_key(self, kid: str, private_pem: bytes, public_jwk: str) -> None:
        """Keep this signing key, and retire the others."""
        sealed = self._sealer.seal(private_pem, key_context(kid))
        await self._pipeline.run((KEYS_LOCK, ()), (ROTATE_KEY, (kid, sealed, public_jwk)))

    async def signing_key(self) -> tuple[str, bytes] | None:
        """The id and PEM of the key that signs now; None where there is none yet."""
        [rows] = await self._pipeline.run((PRIVATE_KEYS, (SIGNS_AFTER,)))
        if not rows:
            return None
        kid, sealed = rows[0]
        return kid, self._sealer.open(sealed, key_context(kid))

    async def public_keys(self, overlap: float) -> list[PublicKey]:
        """The keys that tokens are checked with, newest first.

        A retired one stays for ``overlap`` seconds, until all its tokens have expired.
        """
        [rows] = await self._pipeline.run((PUBLIC_KEYS, (overlap,)))
        return [PublicKey(*row) for row in rows]

    async def ended_within(self, seconds: float) -> list[UUID]:
        """The logins that ended in the last ``seconds``."""
        [rows] = await self._pipeline.run((ENDED, (seconds,)))
        return [row[0] for row in rows]


def password_context(user_id: UUID) -> bytes:
    """What a person's password hash is sealed for."""
    return b"accounts/password/" + user_id.bytes


def key_context(kid: str) -> bytes:
    """What a signing key is sealed with, beside the key."""
    return b"accounts/signing-key/" + kid.encode()
