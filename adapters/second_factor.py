"""Seeds of authenticator apps and the hashes of recovery codes, in a table of the write database.

``commands.second_factor.Seeds``. Each use of a code is one statement on the person's row, so that
of two requests with one code the second finds it used, on whichever machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from adapters.postgres.pipeline import Pipeline, Statement
from adapters.sealing import Sealer
from commands.second_factor import Seed

BEGIN = Statement(
    "accounts_begin_totp",
    """
    INSERT INTO accounts_totp (user_id, seed_id, seed, recovery) VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id) DO UPDATE SET
        seed_id = excluded.seed_id, seed = excluded.seed, recovery = excluded.recovery,
        last_step = 0, created_at = now()
    WHERE accounts_totp.confirmed_at IS NULL
    RETURNING 1
    """,
    ("uuid", "uuid", "bytea", "bytea[]"),
)
SEED = Statement(
    "accounts_totp_seed",
    "SELECT seed_id, seed, confirmed_at IS NOT NULL FROM accounts_totp WHERE user_id = $1",
    ("uuid",),
)
CONFIRM = Statement(
    "accounts_confirm_totp",
    "UPDATE accounts_totp SET confirmed_at = coalesce(confirmed_at, now())"
    " WHERE user_id = $1 AND seed_id = $2 RETURNING 1",
    ("uuid", "uuid"),
)
USE_STEP = Statement(
    "accounts_use_totp_step",
    "UPDATE accounts_totp SET last_step = $2 WHERE user_id = $1 AND last_step < $2 RETURNING 1",
    ("uuid", "int8"),
)
USE_RECOVERY = Statement(
    "accounts_use_recovery_code",
    """
    UPDATE accounts_totp SET recovery = array_remove(recovery, $2)
    WHERE user_id = $1 AND confirmed_at IS NOT NULL AND $2 = ANY (recovery)
    RETURNING cardinality(recovery)
    """,
    ("uuid", "bytea"),
)
FORGET = Statement(
    "accounts_forget_totp", "DELETE FROM accounts_totp WHERE user_id = $1 RETURNING 1", ("uuid",)
)


class PostgresSeeds:
    """``commands.second_factor.Seeds``; ``pipeline`` connects as ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline, sealer: Sealer) -> None:
        self._pipeline = pipeline
        self._sealer = sealer

    async def begin_totp(self, user_id: UUID, seed: Seed, recovery: Sequence[bytes]) -> bool:
        """Keep these instead of any unconfirmed ones; False where there are confirmed ones."""
        sealed = self._sealer.seal(seed.secret.encode(), seed_context(user_id))
        [rows] = await self._pipeline.run((BEGIN, (user_id, seed.id, sealed, recovery)))
        return bool(rows)

    async def seed(self, user_id: UUID) -> Seed | None:
        """The person's seed, None where there is none."""
        [rows] = await self._pipeline.run((SEED, (user_id,)))
        if not rows:
            return None
        seed_id, sealed, confirmed = rows[0]
        return Seed(seed_id, self._sealer.open(sealed, seed_context(user_id)).decode(), confirmed)

    async def confirm_totp(self, user_id: UUID, seed_id: UUID) -> bool:
        """The seed counts from now on; False where it is no longer the person's."""
        [rows] = await self._pipeline.run((CONFIRM, (user_id, seed_id)))
        return bool(rows)

    async def use_step(self, user_id: UUID, step: int) -> bool:
        """Use up all codes to this step; False where this one was used up before."""
        [rows] = await self._pipeline.run((USE_STEP, (user_id, step)))
        return bool(rows)

    async def use_recovery(self, user_id: UUID, code_hash: bytes) -> int | None:
        """Use a recovery code up; how many are left, or None where it is not one of them."""
        [rows] = await self._pipeline.run((USE_RECOVERY, (user_id, code_hash)))
        return rows[0][0] if rows else None

    async def forget_totp(self, user_id: UUID) -> bool:
        """Delete the seed and the recovery codes; False where there were none."""
        [rows] = await self._pipeline.run((FORGET, (user_id,)))
        return bool(rows)


def seed_context(user_id: UUID) -> bytes:
    """What a seed is sealed with, beside the key."""
    return b"accounts/totp/" + user_id.bytes
