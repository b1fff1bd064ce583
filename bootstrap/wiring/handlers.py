"""The handlers of both APIs, and all of them described for routing and documentation."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from litestar.handlers import HTTPRouteHandler
from uuid_utils.compat import uuid7

import read_api.account_pages
import read_api.accounts
import read_api.analytics
import read_api.audit
import read_api.exports
import read_api.flags
import read_api.journal
import read_api.journal_attachments
import read_api.journal_history
import read_api.journal_insights
import read_api.journal_overview
import read_api.journal_search
import read_api.keys
import read_api.live
import read_api.logins
import read_api.operations
import read_api.ops
import read_api.tenants
import write_api.accounts
import write_api.erasure
import write_api.exports
import write_api.flags
import write_api.github
import write_api.journal
import write_api.journal_attachments
import write_api.journal_import
import write_api.journal_insights
import write_api.keys
import write_api.leaving
import write_api.logins
import write_api.operations
import write_api.ops
import write_api.recovery
import write_api.second_factor
import write_api.tenants
from adapters.audit import PostgresAuditLog
from adapters.erasure import token_digest
from adapters.event_store.store import PostgresEventStore
from adapters.exports import PostgresExports
from adapters.http.cursors import Cursors
from adapters.http.errors import Mapper
from adapters.http.health import Readiness, health_handlers
from adapters.http.links import Links
from adapters.http.pages import problem_handlers
from adapters.keys import PostgresKeys
from adapters.models.queue import QueueHints
from adapters.operations import PostgresOperations
from adapters.oversight import PostgresOversight
from adapters.tokens import KeyRing
from bootstrap.engine import REBUILDABLE
from bootstrap.settings import Settings
from bootstrap.wiring.objects import Files
from bootstrap.wiring.statistics import totals_of
from bootstrap.wiring.write_side import WriteSide
from commands.bus import Outcome
from commands.github import GithubLogins
from commands.logins import Logins
from commands.ports import Context
from commands.recovery import Recovery
from projections.following import Feed
from projections.journal.search import Search
from projections.oversight import Plans
from projections.reading import Freshness, Reader, SeriesReader
from read_api.console import routes as console
from read_api.console.pulse import Beats
from read_api.journal_insights import Viewed
from read_api.shared import Shared
from workers.broker import Offers
from write_api.answering import Answering, Dispatch
from write_api.logins import Visiting

ERRORS: dict[type[Exception], Mapper] = {
    **write_api.journal.ERRORS,
    **write_api.journal_attachments.ERRORS,
    **write_api.journal_insights.ERRORS,
    **write_api.logins.ERRORS,
    **write_api.second_factor.ERRORS,
    **write_api.github.ERRORS,
    **write_api.tenants.ERRORS,
}
"""How the contexts' own refusals are answered."""


class Writing(msgspec.Struct, frozen=True):
    """What the handlers of the write API are made of; without ``github`` it has no calls of it."""

    side: WriteSide
    reader: Reader
    logins: Logins
    github: GithubLogins | None
    recovery: Recovery
    offers: Offers


class Reading(msgspec.Struct, frozen=True):
    """What the handlers of the read API are made of."""

    reader: Reader
    freshness: Freshness
    cursors: Cursors
    keys: KeyRing
    streams: PostgresEventStore
    operations: PostgresOperations
    oversight: PostgresOversight
    plans: Plans
    credentials: Reader
    audit: PostgresAuditLog
    exports: PostgresExports
    links: Links
    api_keys: PostgresKeys
    live: Feed
    beats: Beats
    comment_every: float
    shared: Shared
    files: Files
    series: SeriesReader
    insights: Reader
    viewed: Viewed
    search: Search
    readiness: Readiness


def write_handlers(parts: Writing) -> list[HTTPRouteHandler]:
    """Everything that changes something."""
    side, logins, offers = parts.side, parts.logins, parts.offers
    answering = Answering(side.bus.dispatch, side.store, ERRORS)
    visiting = Visiting(lambda data: side.sealer.digest(data, "idempotency"))
    revising = Answering(_forgetting(side), side.store, ERRORS)
    around = write_api.accounts.surroundings(parts.reader, totals_of(parts.reader))
    return [
        *write_api.logins.routes(
            answering,
            logins,
            visiting,
            parts.recovery.repeat_registration if side.settings.verify_email else None,
        ),
        *write_api.recovery.routes(visiting, parts.recovery),
        *write_api.second_factor.routes(answering, side.second_factor),
        *write_api.leaving.routes(answering, logins, visiting),
        *(
            write_api.github.routes(parts.github, visiting, write_api.github.Carried(side.sealer))
            if parts.github is not None
            else ()
        ),
        *write_api.accounts.routes(revising, around),
        *write_api.journal.routes(answering, side.store, uuid7, side.files.links, side.moods),
        *write_api.journal_attachments.routes(
            answering, side.attaching, side.files.links, side.files.signed, uuid7
        ),
        *write_api.journal_import.routes(
            answering,
            side.store,
            side.operations,
            offers,
            uuid7,
            max_bytes=side.settings.max_import_bytes,
        ),
        *write_api.journal_insights.routes(
            answering,
            side.bus.dispatch,
            side.store,
            side.operations,
            offers,
            uuid7,
            QueueHints(side.cache),
        ),
        *write_api.exports.routes(answering, side.store, side.operations, offers, uuid7),
        *write_api.erasure.routes(
            answering, side.store, side.operations, offers, side.credentials, uuid7, token_digest
        ),
        *write_api.keys.routes(
            answering, side.store, side.api_keys, side.api_keys.last_used, uuid7
        ),
        *write_api.tenants.routes(answering, side.store, side.api_keys.changed, uuid7),
        *write_api.flags.routes(answering, side.store),
        *write_api.operations.routes(side.operations, side.store, uuid7),
        *write_api.ops.routes(
            answering, side.store, side.operations, offers, side.care, uuid7, REBUILDABLE
        ),
    ]


def _forgetting(side: WriteSide) -> Dispatch:
    """Dispatch what people change of their settings, so that their next write goes by these."""

    async def dispatch(command: Any, context: Context) -> Outcome[Any]:
        try:
            return await side.bus.dispatch(command, context)
        finally:
            side.moods.forget(context.user_id)

    return dispatch


def read_handlers(parts: Reading) -> list[HTTPRouteHandler]:
    """Everything that answers."""
    return [
        *read_api.accounts.routes(
            parts.reader,
            parts.freshness,
            totals_of(parts.reader),
            lambda: parts.keys.jwks,
            parts.shared,
        ),
        *read_api.logins.routes(parts.credentials, parts.freshness, parts.cursors),
        *read_api.journal.routes(
            parts.reader, parts.freshness, parts.cursors, parts.shared, parts.files.links
        ),
        *read_api.journal_history.routes(
            parts.freshness, parts.streams, parts.cursors, parts.files.links
        ),
        *read_api.journal_attachments.routes(
            parts.reader,
            parts.freshness,
            parts.streams,
            parts.files.objects,
            parts.files.links,
            parts.files.signed,
        ),
        *read_api.journal_overview.routes(parts.reader, parts.freshness, parts.cursors),
        *read_api.journal_insights.routes(
            parts.insights, parts.freshness, parts.cursors, parts.viewed
        ),
        *read_api.journal_search.routes(parts.reader, parts.search, parts.freshness, parts.cursors),
        *read_api.operations.routes(
            parts.operations, lambda operation: read_api.exports.with_link(operation, parts.links)
        ),
        *read_api.exports.routes(parts.exports, parts.links),
        *read_api.keys.routes(parts.reader, parts.freshness, parts.cursors, parts.api_keys),
        *read_api.tenants.routes(parts.reader, parts.freshness, parts.streams, parts.cursors),
        *read_api.flags.routes(parts.reader, parts.freshness, parts.cursors),
        *read_api.ops.routes(parts.oversight, parts.cursors),
        *read_api.account_pages.routes(),
        *read_api.audit.routes(parts.audit, parts.freshness, parts.cursors),
        *console.routes(
            parts.oversight,
            parts.plans,
            parts.audit,
            parts.readiness,
            parts.operations,
            parts.beats,
            comment_every=parts.comment_every,
        ),
        *read_api.live.routes(parts.live, comment_every=parts.comment_every),
        *read_api.analytics.routes(
            parts.reader,
            parts.series,
            parts.credentials,
            parts.freshness,
            parts.streams,
            parts.shared,
        ),
    ]


class StandIn:
    """Stands in for a part where handlers are made only for what they say of themselves."""

    def __init__(self, **known: Any) -> None:
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        return self


def described(settings: Settings) -> list[HTTPRouteHandler]:
    """Every handler of both APIs, to be described and routed by, and not to be called.

    What is not set up is not there, and so it is not described.
    """
    stand_in = cast("Any", StandIn())
    without_github = cast("Any", StandIn(github=None))
    return [
        *read_handlers(stand_in),
        *write_handlers(without_github if settings.github_client_id is None else stand_in),
        *health_handlers(stand_in),
        *problem_handlers,
    ]
