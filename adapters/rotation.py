"""Sealing anew what a former master key sealed, while everybody goes on.

Owns the list of what is kept for long under the master key, and the exchange of each value for the
same one under the newest key. A value is exchanged only if it is still the one that was opened, so
that nothing that is written meanwhile is lost. What lives for a day at most (answers kept for
retries, input of operations) is left to the former key, which is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier

from adapters.credentials import key_context, password_context
from adapters.event_store.subject_keys import key_context as subject_context
from adapters.github import token_context as github_context
from adapters.sealing import Sealer, Unsealable, generation_of
from adapters.second_factor import seed_context

BATCH = 500
"""Values exchanged in one transaction."""


class SealedColumn(NamedTuple):
    """A column with values that the master key sealed.

    ``key`` is the table's primary key, of ``type``; ``context`` makes of it what was sealed with.
    ``generation`` names the column that says which master key it was, where there is one.
    """

    table: str
    key: str
    type: str
    column: str
    context: Callable[[Any], bytes]
    generation: str | None = None


SEALED = (
    SealedColumn(
        "subject_keys", "subject_id", "uuid", "wrapped", subject_context, "master_generation"
    ),
    SealedColumn("accounts_credentials", "user_id", "uuid", "password_hash", password_context),
    SealedColumn("accounts_totp", "user_id", "uuid", "seed", seed_context),
    SealedColumn("accounts_github", "user_id", "uuid", "token", github_context),
    SealedColumn("accounts_signing_keys", "kid", "text", "private_pem", key_context),
)
"""Every such column: a test compares it with the comments ``…, sealed`` of the schema."""


class Resealed(NamedTuple):
    """How many values of a column were exchanged, and how many no key of ours opens."""

    exchanged: int
    unopened: int


def reseal(
    connection: psycopg.Connection[Any],
    sealer: Sealer,
    columns: Iterable[SealedColumn] = SEALED,
    tell: Callable[[str, int], None] = lambda name, count: None,
) -> dict[str, Resealed]:
    """Exchange all values that the newest key did not seal, once; by ``table.column``.

    ``connection`` autocommits, its role is ``mindstream_write``. ``tell`` hears of each batch.
    """
    return {
        f"{each.table}.{each.column}": _reseal(connection, sealer, each, tell) for each in columns
    }


def _reseal(
    connection: psycopg.Connection[Any],
    sealer: Sealer,
    what: SealedColumn,
    tell: Callable[[str, int], None],
) -> Resealed:
    select, update = _select(what), _update(what)
    newest = bytes.fromhex(sealer.generation)
    exchanged = unopened = 0
    last: Any = None
    while rows := connection.execute(
        select, {"newest": newest, "last": last, "limit": BATCH}
    ).fetchall():
        last = rows[-1][0]
        pairs = []
        for key, old in rows:
            try:
                context = what.context(key)
                pairs.append((key, old, sealer.seal(sealer.open(old, context), context)))
            except Unsealable:
                unopened += 1
        if pairs:
            keys, olds, news = map(list, zip(*pairs, strict=True))
            generation = generation_of(news[0])
            values = {"keys": keys, "olds": olds, "news": news, "generation": generation}
            exchanged += connection.execute(update, values).rowcount
            tell(f"{what.table}.{what.column}", exchanged)
    return Resealed(exchanged, unopened)


def _select(what: SealedColumn) -> Composed:
    return SQL(
        "SELECT {key}, {column} FROM {table}"
        " WHERE substring({column} FROM 2 FOR 4) <> %(newest)s"
        " AND (%(last)s::{type} IS NULL OR {key} > %(last)s::{type})"
        " ORDER BY {key} LIMIT %(limit)s"
    ).format(**_names(what))


def _update(what: SealedColumn) -> Composed:
    also: Composable = SQL("")
    if what.generation is not None:
        also = SQL(", {} = %(generation)s").format(Identifier(what.generation))
    return SQL(
        "UPDATE {table} t SET {column} = n.new{also}"
        " FROM unnest(%(keys)s::{type}[], %(olds)s::bytea[], %(news)s::bytea[])"
        " AS n (key, old, new) WHERE t.{key} = n.key AND t.{column} = n.old"
    ).format(also=also, **_names(what))


def _names(what: SealedColumn) -> dict[str, Any]:
    return {
        "table": Identifier(what.table),
        "key": Identifier(what.key),
        "column": Identifier(what.column),
        "type": Identifier(what.type),
    }
