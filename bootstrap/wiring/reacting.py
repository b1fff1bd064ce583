"""The reactions, composed, and the thread of a worker in which they run.

Owns the list of all reactions: adding one means adding it here. They have an event loop and
connections of their own, so that neither a long job nor a slow mail server holds up the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import psycopg
import structlog

from adapters.event_store.metadata import SourceWithMetadata
from adapters.mail.folder import FolderMail
from adapters.mail.smtp import SmtpMail
from adapters.pictures import Pictures
from adapters.reactions import PostgresLedger
from bootstrap import tracing
from bootstrap.places import Places
from bootstrap.settings import Settings
from bootstrap.wiring.databases import PROJECT, write_dsn_of
from bootstrap.wiring.keys import subject_keys_of
from bootstrap.wiring.write_side import WriteSide
from commands.mail import Mailer
from workers import accounts_mail, journal_mail
from workers.journal_thumbnails import Thumbnails
from workers.reactions import Reaction, Reactor

log = structlog.get_logger()

REACTIONS: tuple[type[Reaction], ...] = (
    *accounts_mail.REACTIONS,
    *journal_mail.REACTIONS,
    Thumbnails,
)
"""All of them; a name here is for ever."""
AGAIN = 1.0
"""Seconds before the database is tried again at the start."""
LEAVES_WITHIN = 4.0
"""Seconds that the thread has to end; what is cut off is done by the next worker."""


def mailer_of(settings: Settings) -> Mailer:
    """Where letters go."""
    if settings.smtp_url is not None:
        return SmtpMail(settings.smtp_url, settings.mail_from)
    return FolderMail(Places(settings.home).mail, settings.mail_from)


def reactions_of(side: WriteSide) -> Sequence[Reaction]:
    """One instance of each reaction."""
    settings = side.settings
    mailer = mailer_of(settings)
    public_url = settings.public_url or f"http://127.0.0.1:{settings.port}"
    return [
        *(
            make(side.store, side.mail_tokens, mailer, public_url)
            for make in accounts_mail.REACTIONS
        ),
        Thumbnails(side.store, side.bus.dispatch, side.files.objects, Pictures()),
        *(
            make(side.store, mailer, only_verified=settings.verify_email)
            for make in journal_mail.REACTIONS
        ),
    ]


def ledger_of(settings: Settings) -> PostgresLedger:
    """The ledger in the write database."""
    return PostgresLedger(write_dsn_of(settings), role=PROJECT)


async def begin_reactions(settings: Settings) -> None:
    """Have every reaction that is new begin here, before anybody is let in."""
    ledger = ledger_of(settings)
    try:
        await ledger.begin({each.name: each.from_beginning for each in REACTIONS})
    finally:
        await ledger.close()


async def reactor(settings: Settings, stop: asyncio.Event) -> None:
    """Keep all reactions going until ``stop`` is set."""
    async with _opened(WriteSide(settings), stop) as side:
        if side is None:
            return
        keys = subject_keys_of(settings)
        source = SourceWithMetadata(write_dsn_of(settings), role=PROJECT, keys=keys)
        reactions = tracing.tell_of(settings, reactions_of(side))
        await Reactor(ledger_of(settings), source, reactions).run(stop)


@contextlib.asynccontextmanager
async def _opened(side: WriteSide, stop: asyncio.Event) -> AsyncIterator[WriteSide | None]:
    """The write side, as soon as there is a database; None where it stops before."""
    while not stop.is_set():
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(side.opened())
            except psycopg.OperationalError as error:
                log.warning("reactions_wait_for_the_database", reason=type(error).__name__)
                side = WriteSide(side.settings)
            else:
                yield side
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN):
                await stop.wait()
    yield None


@contextlib.contextmanager
def on_its_own_loop(body: Callable[[asyncio.Event], Awaitable[None]]) -> Iterator[None]:
    """Run ``body`` in a thread with a loop as long as the context lasts, then set its event."""
    ready = threading.Event()
    inside: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        inside.append((asyncio.get_running_loop(), stop))
        ready.set()
        await body(stop)

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="reactions", daemon=True)
    thread.start()
    ready.wait()
    loop, stop = inside[0]
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)
        thread.join(LEAVES_WITHIN)
