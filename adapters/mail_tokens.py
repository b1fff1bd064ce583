"""The tokens that letters carry, as hashes in a table of the write database.

``commands.recovery.MailTokens``. A token is a keyed digest of the key of its letter, under a secret
of the master key: 256 bits that nobody can tell from random ones, and the same when the letter is
sent again. Times are the database's.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from adapters.credentials import password_context
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.sealing import Sealer
from commands.recovery import Purpose

LIFETIMES: dict[Purpose, timedelta] = {
    "verify_email": timedelta(days=3),
    "reset_password": timedelta(hours=1),
}
"""For how long a token of each purpose is good."""
MOST = 5
"""Letters for one purpose that a person gets within an hour."""

ISSUE = Statement(
    "accounts_issue_mail_token",
    """
    INSERT INTO accounts_mail_tokens (hash, purpose, user_id, key, expires_at)
    SELECT $1, $2, $3, $4, now() + $5 * interval '1 second'
    WHERE (SELECT count(*) FROM accounts_mail_tokens
           WHERE user_id = $3 AND purpose = $2 AND key <> $4
             AND issued_at > now() - interval '1 hour') < $6
    ON CONFLICT (key) DO UPDATE SET hash = excluded.hash
    RETURNING key
    """,
    ("bytea", "text", "uuid", "uuid", "float8", "int8"),
)
OWNER = Statement(
    "accounts_mail_token_owner",
    "SELECT user_id FROM accounts_mail_tokens"
    " WHERE hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > now()",
    ("bytea", "text"),
)
USE = Statement(
    "accounts_use_mail_token",
    "UPDATE accounts_mail_tokens SET used_at = now()"
    " WHERE hash = $1 AND purpose = $2 AND used_at IS NULL",
    ("bytea", "text"),
)
RESET = Statement(
    "accounts_reset_password",
    """
    WITH used AS (
        UPDATE accounts_mail_tokens SET used_at = now()
        WHERE hash = $1 AND purpose = 'reset_password' AND user_id = $2 AND used_at IS NULL
          AND expires_at > now()
        RETURNING user_id
    ), others AS (
        UPDATE accounts_mail_tokens t SET used_at = now() FROM used
        WHERE t.user_id = used.user_id AND t.purpose = 'reset_password' AND t.used_at IS NULL
          AND t.hash <> $1
    ), kept AS (
        INSERT INTO accounts_credentials (user_id, password_hash) SELECT user_id, $3 FROM used
        ON CONFLICT (user_id) DO UPDATE
        SET password_hash = excluded.password_hash, changed_at = now()
    ), ended AS (
        UPDATE accounts_logins l SET ended_at = now() FROM used
        WHERE l.user_id = used.user_id AND l.ended_at IS NULL
        RETURNING pg_notify('mindstream_logins', l.login_id::text)
    )
    SELECT (SELECT count(*) FROM used), (SELECT count(*) FROM ended)
    """,
    ("bytea", "uuid", "bytea"),
)
SWEEP = Statement(
    "accounts_sweep_mail_tokens",
    "WITH gone AS (DELETE FROM accounts_mail_tokens WHERE expires_at < now() - interval '1 day'"
    " RETURNING 1) SELECT count(*) FROM gone",
    (),
)


class PostgresMailTokens:
    """The tokens of letters; ``pipeline`` connects as ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline, sealer: Sealer) -> None:
        self._pipeline = pipeline
        self._sealer = sealer

    async def issue(self, key: UUID, purpose: Purpose, user_id: UUID) -> str | None:
        """The token of the letter with this key; None where it is one too many."""
        digest = self._sealer.digest(purpose.encode() + key.bytes, "accounts/mail-token")
        token = urlsafe_b64encode(digest).rstrip(b"=").decode()
        seconds = LIFETIMES[purpose].total_seconds()
        [rows] = await self._pipeline.run(
            (ISSUE, (_hash_of(token), purpose, user_id, key, seconds, MOST))
        )
        return token if rows else None

    async def owner(self, purpose: Purpose, token: str) -> UUID | None:
        """Whose it is, if it is good."""
        [rows] = await self._pipeline.run((OWNER, (_hash_of(token), purpose)))
        return rows[0][0] if rows else None

    async def use(self, purpose: Purpose, token: str) -> None:
        """Have it be good no more."""
        await self._pipeline.run((USE, (_hash_of(token), purpose)))

    async def reset(self, token: str, user_id: UUID, password_hash: str) -> bool:
        """Use it up, keep the password and end all logins of the person, in one commit."""
        sealed = self._sealer.seal(password_hash.encode(), password_context(user_id))
        [[(used, _)]] = await self._pipeline.run((RESET, (_hash_of(token), user_id, sealed)))
        return bool(used)

    async def sweep(self) -> int:
        """Delete what has long expired; how many."""
        [[(count,)]] = await self._pipeline.run((SWEEP, ()))
        return int(count)


def _hash_of(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
