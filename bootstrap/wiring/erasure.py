"""The erasure of a person, put together of the stores that hold something about people."""

from __future__ import annotations

from adapters.erasure import LOGINS, STORES, DataKey, LettersInFolder, stores
from bootstrap.engine import DirectEngine
from bootstrap.places import Places
from bootstrap.settings import Settings
from bootstrap.wiring.write_side import WriteSide
from workers.erasure import Erasing


def erasing_of(settings: Settings, side: WriteSide, engine: DirectEngine) -> Erasing:
    """What an erasure needs. A store of another kind joins ``first`` or ``then``."""
    return Erasing(
        operations=side.operations,
        store=side.store,
        first=[*stores(side.bulk, [LOGINS]), LettersInFolder(Places(settings.home).mail)],
        key=DataKey(side.bulk, side.keys),
        then=stores(side.bulk, STORES),
        models=engine,
        sign=side.tokens.sign,
    )
