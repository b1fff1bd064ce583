"""Rotating the master key and the key that signs access tokens, while everything runs.

Owns the order of the steps. A new master key is a file first; from then on whoever starts, or
meets something that it sealed, has it, and all processes take it up within ``SETTLED`` seconds.
Meanwhile some still seal with the former one: what they do is found by a last look. Only then, and
if asked to, are the earlier keys discarded.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import psycopg

from adapters.rotation import PASSING, SEALED, reseal
from bootstrap.master_key import NotInFiles, add_generation, discard_earlier
from bootstrap.settings import Settings
from bootstrap.wiring.databases import WRITE, write_dsn_of
from bootstrap.wiring.keys import sealer_of
from bootstrap.wiring.write_side import WriteSide

SETTLED = 4.0
"""Seconds after which every process seals with the new key."""
_AGAIN = 1.0


class Rotated(msgspec.Struct, frozen=True):
    """A rotation of the master key: the new one's number and id, and what was sealed anew where.

    ``unopened`` are values that no key of ours opens; they are as they were. ``discarded`` is how
    many earlier keys are gone, None where they were to be kept.
    """

    generation: int
    id: str
    resealed: dict[str, int]
    unopened: dict[str, int]
    discarded: int | None = None


class Signing(msgspec.Struct, frozen=True):
    """A rotation of the signing key: the new one, which signs after ``signs_in`` seconds."""

    kid: str
    signs_in: float


def rotate_master(
    settings: Settings, tell: Callable[[str, int], None], *, discard: bool = False
) -> Rotated:
    """Make a new master key (where it is a setting: take the one that is set) and seal anew.

    With ``discard`` the earlier keys are deleted when nothing is left that one of them sealed; they
    are kept after all if there are values that cannot be opened.

    Raises:
        NotInFiles: the key is a setting, and no earlier one is, or it is to be discarded.
        KeyChanged: another rotation came in between; nothing was discarded.
        psycopg.Error: the database does not answer. Another run goes on where this one ended.
    """
    if discard and settings.master_key is not None:
        raise NotInFiles
    try:
        number = add_generation(settings)
    except NotInFiles:
        if not settings.master_key_previous:
            raise
        number = 1 + len(settings.master_key_previous)
    settled = time.monotonic() + SETTLED
    sealer = sealer_of(settings)
    resealed: dict[str, int] = {}
    with psycopg.connect(
        write_dsn_of(settings),
        autocommit=True,
        connect_timeout=5,
        options=f"-c role={WRITE}",
        application_name="mindstream-rotation",
    ) as connection:
        while True:
            last = time.monotonic() > settled
            done = reseal(connection, sealer, SEALED + PASSING if discard else SEALED, tell)
            for name, one in done.items():
                resealed[name] = resealed.get(name, 0) + one.exchanged
            if last and not any(one.exchanged for one in done.values()):
                break
            time.sleep(_AGAIN)
    unopened = {name: one.unopened for name, one in done.items() if one.unopened}
    gone = discard_earlier(settings, sealer.generation) if discard and not unopened else None
    return Rotated(number, sealer.generation, resealed, unopened, gone)


async def rotate_signing(settings: Settings) -> Signing:
    """Make a new signing key; the former one stays known until its tokens have expired."""
    side = WriteSide(settings)
    async with side.opened():
        kid, seconds = await side.tokens.rotate()
    return Signing(kid, seconds)
