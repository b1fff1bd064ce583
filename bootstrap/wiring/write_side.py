"""The write side as every role that appends needs it: the store, what is beside it, the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uuid_utils.compat import uuid7

import commands.accounts  # importing these registers their handlers with the bus
import commands.flags
import commands.insights
import commands.journal
import commands.journal_import
import commands.keys
import commands.ops
import commands.tenants  # noqa: F401
from adapters.attempts import RedisAttempts
from adapters.credentials import PostgresCredentials
from adapters.departures import PostgresDepartures
from adapters.event_store.subject_keys import SubjectKeys
from adapters.inspection import Inspector
from adapters.keys import PostgresKeys
from adapters.mail_tokens import PostgresMailTokens
from adapters.models.asked import MoodsAsked
from adapters.models.tone import infer
from adapters.oversight import PostgresCare
from adapters.passwords import ArgonPasswords
from adapters.postgres.pipeline import Pipeline
from adapters.postgres.signals import Signals
from adapters.second_factor import PostgresSeeds
from adapters.tokens import SignedTokens
from adapters.uploads import PostgresUploads
from bootstrap import tracing
from bootstrap.settings import Settings
from bootstrap.wiring.databases import WRITE, SeriesStore, cache_of, write_dsn_of
from bootstrap.wiring.keys import sealer_of
from bootstrap.wiring.objects import files_of
from commands.github import GithubLogins
from commands.journal_attachments import Attaching
from commands.logins import Logins
from commands.recovery import Recovery
from commands.second_factor import SecondFactor


class WriteSide:
    """The event store, what is beside it in the write database, and the command bus."""

    def __init__(self, settings: Settings) -> None:
        dsn = write_dsn_of(settings)
        self.settings = settings
        self.reads = Pipeline(dsn, role=WRITE)
        self.writes = Pipeline(dsn, role=WRITE)
        self.cache = cache_of(settings)
        self.sealer = sealer_of(settings)
        self.keys = SubjectKeys(self.sealer)
        self.signals = Signals(self.reads, self.cache)
        self.store = tracing.event_store(settings)(
            self.reads, self.writes, self.sealer, self.signals.appended, self.keys
        )
        self.bus = tracing.bus(settings)(self.store)
        self.moods = MoodsAsked(self.store, infer)
        self.credentials = PostgresCredentials(self.reads, self.sealer)
        self.api_keys = PostgresKeys(self.reads)
        self.second_factor = SecondFactor(
            bus=self.bus,
            store=self.store,
            seeds=PostgresSeeds(self.reads, self.sealer),
            new_id=uuid7,
        )
        self.departures = PostgresDepartures(self.reads)
        self.mail_tokens = PostgresMailTokens(self.reads, self.sealer)
        self.tokens = SignedTokens(self.credentials, new_id=uuid7)
        self.bulk = Pipeline(dsn, role=WRITE)  # pieces of imports must hold up nobody
        self.operations = tracing.operations(settings)(self.bulk, self.sealer)
        self.series = SeriesStore(settings)
        self.care = PostgresCare(self.bulk, elsewhere=self.series.elsewhere)
        self.files = files_of(settings, self.sealer, self.keys, self.bulk)
        self.uploads = PostgresUploads(self.bulk, self.keys)
        self.attaching = Attaching(
            store=self.store,
            dispatch=self.bus.dispatch,
            uploads=self.uploads,
            objects=self.files.objects,
            inspector=Inspector(),
            new_id=uuid7,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected as long as the context lasts."""
        try:
            await self.reads.open()
            await self.writes.open()
            await self.bulk.open()
            async with (
                self.series.opened(),
                self.keys.heeding(self.reads),
                self.sealer.refreshing(),
                self.files.objects.opened(),
            ):
                yield
        finally:
            await self.store.drain()
            await self.signals.close()
            await self.bulk.close()
            await self.writes.close()
            await self.reads.close()
            await self.cache.aclose()

    def logins(self) -> Logins:
        """Registration, login, refresh, logout, leaving and coming back."""
        return Logins(
            bus=self.bus,
            store=self.store,
            credentials=self.credentials,
            passwords=ArgonPasswords(),
            tokens=self.tokens,
            attempts=RedisAttempts(self.cache),
            second_factor=self.second_factor,
            new_id=uuid7,
            only_verified=self.settings.verify_email,
        )

    def github_logins(self, logins: Logins) -> GithubLogins | None:
        """Logins with GitHub; None where that is not set up."""
        settings = self.settings
        if settings.github_client_id is None or settings.github_client_secret is None:
            return None
        # Only where it is set up: its HTTP client takes each process 0.2 s to import.
        from adapters.github import GithubOverHttp, PostgresGithubLinks  # noqa: PLC0415

        github = GithubOverHttp(
            settings.github_url, settings.github_client_id, settings.github_client_secret
        )
        return GithubLogins(
            bus=self.bus,
            store=self.store,
            github=github,
            links=PostgresGithubLinks(self.reads, self.sealer),
            logins=logins,
            second_factor=self.second_factor,
            new_id=uuid7,
        )

    def recovery(self) -> Recovery:
        """Confirming addresses, and new passwords by mail."""
        return Recovery(
            bus=self.bus,
            store=self.store,
            credentials=self.credentials,
            passwords=ArgonPasswords(),
            tokens=self.mail_tokens,
            attempts=RedisAttempts(self.cache),
            new_id=uuid7,
        )

    async def ensure_key(self) -> None:
        """See to it that access tokens can be signed."""
        file = self.settings.jwt_private_key_file
        await self.tokens.ensure_key(file.read_bytes() if file is not None else None)
