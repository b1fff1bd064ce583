"""The erasure of a person, put together of the stores that hold something about people."""

from __future__ import annotations

from adapters.cache import KeptAnswers, RedisCache
from adapters.erasure import LOGINS, STORES, Attached, DataKey, Sent, stores
from adapters.live.presence import OpenSockets
from adapters.mail.erasure import SentMail
from adapters.mail.folder import FolderMail
from bootstrap.engine import DirectEngine
from bootstrap.places import Places
from bootstrap.settings import Settings
from bootstrap.wiring.caching import KINDS
from bootstrap.wiring.write_side import WriteSide
from workers.erasure import Erasing


def erasing_of(settings: Settings, side: WriteSide, engine: DirectEngine) -> Erasing:
    """What an erasure needs. A store of another kind joins ``first`` or ``then``."""
    folder = FolderMail(Places(settings.home).mail, settings.mail_from)
    return Erasing(
        operations=side.operations,
        store=side.store,
        first=[
            *stores(side.bulk, [LOGINS]),
            KeptAnswers(RedisCache(side.cache, KINDS).forget),
            OpenSockets(side.cache),
        ],
        key=DataKey(side.bulk, side.keys),
        then=[
            Sent(SentMail(side.bulk, folder)),
            *stores(side.bulk, STORES),
            Attached(side.files.objects),
        ],
        models=engine,
        sign=side.tokens.sign,
    )
