"""Sealing anew what a former master key sealed, while everybody goes on.

Owns the list of what is kept under the master key, and the exchange of each value for the same one
under the newest key. A value is exchanged only if it is still the one that was opened, so that
nothing that is written meanwhile is lost. What lives for a day or two at most is left to the former
key as long as that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Composable, Composed, Identifier, Placeholder

from adapters.credentials import key_context, password_context
from adapters.event_store.store import answer_context
from adapters.event_store.subject_keys import key_context as subject_context
from adapters.github import token_context as github_context
from adapters.operations import input_context
from adapters.sealing import Sealer, Unsealable, generation_of
from adapters.second_factor import seed_context

BATCH = 500
"""Values exchanged in one transaction."""


class SealedColumn(NamedTuple):
    """A column with values that the master key sealed.

    ``keys`` are the columns of the table's primary key, of ``types``; ``context`` makes of them
    what was sealed with. ``generation`` names the column that says which master key it was, where
    there is one.
    """

    table: str
    keys: tuple[str, ...]
    types: tuple[str, ...]
    column: str
    context: Callable[..., bytes]
    generation: str | None = None


SEALED = (
    SealedColumn(
        "subject_keys", ("subject_id",), ("uuid",), "wrapped", subject_context, "master_generation"
    ),
    SealedColumn(
        "accounts_credentials", ("user_id",), ("uuid",), "password_hash", password_context
    ),
    SealedColumn("accounts_totp", ("user_id",), ("uuid",), "seed", seed_context),
    SealedColumn("accounts_github", ("user_id",), ("uuid",), "token", github_context),
    SealedColumn("accounts_signing_keys", ("kid",), ("text",), "private_pem", key_context),
)
"""Every such column that is kept for long: a test compares it with the comments ``…, sealed`` of
the schema."""

PASSING = (
    SealedColumn("idempotency", ("principal", "key"), ("text", "text"), "response", answer_context),
    SealedColumn(
        "operation_input", ("operation_id", "chunk_no"), ("uuid", "int4"), "data", input_context
    ),
)
"""What is gone within days by itself; only a key that is to be discarded has it sealed anew."""


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
    last: Sequence[Any] | None = None
    while rows := connection.execute(
        select,
        {"newest": newest, "limit": BATCH, **_numbered("last", last or [None] * len(what.keys))},
    ).fetchall():
        last = rows[-1][:-1]
        pairs = []
        for *key, old in rows:
            try:
                context = what.context(*key)
                pairs.append((*key, old, sealer.seal(sealer.open(old, context), context)))
            except Unsealable:
                unopened += 1
        if pairs:
            *found, olds, news = map(list, zip(*pairs, strict=True))
            generation = generation_of(news[0])
            values = {"olds": olds, "news": news, "generation": generation}
            exchanged += connection.execute(update, values | _numbered("key", found)).rowcount
            tell(f"{what.table}.{what.column}", exchanged)
    return Resealed(exchanged, unopened)


def _numbered(name: str, values: Iterable[Any]) -> dict[str, Any]:
    return {f"{name}{number}": value for number, value in enumerate(values)}


def _select(what: SealedColumn) -> Composed:
    return SQL(
        "SELECT {keys}, {column} FROM {table}"
        " WHERE substring({column} FROM 2 FOR 4) <> %(newest)s"
        " AND (%(last0)s::{first} IS NULL OR ({keys}) > ({last}))"
        " ORDER BY {keys} LIMIT %(limit)s"
    ).format(
        keys=SQL(", ").join(map(Identifier, what.keys)),
        first=Identifier(what.types[0]),
        last=_values("last", what.types, ""),
        column=Identifier(what.column),
        table=Identifier(what.table),
    )


def _update(what: SealedColumn) -> Composed:
    also: Composable = SQL("")
    if what.generation is not None:
        also = SQL(", {} = %(generation)s").format(Identifier(what.generation))
    names = [f"key{number}" for number in range(len(what.keys))]
    return SQL(
        "UPDATE {table} t SET {column} = n.new{also}"
        " FROM unnest({values}, %(olds)s::bytea[], %(news)s::bytea[])"
        " AS n ({names}, old, new) WHERE {same} AND t.{column} = n.old"
    ).format(
        table=Identifier(what.table),
        column=Identifier(what.column),
        also=also,
        values=_values("key", what.types, "[]"),
        names=SQL(", ").join(map(Identifier, names)),
        same=SQL(" AND ").join(
            SQL("t.{} = n.{}").format(Identifier(one), Identifier(other))
            for one, other in zip(what.keys, names, strict=True)
        ),
    )


def _values(name: str, types: Sequence[str], many: str) -> Composed:
    """Placeholders ``name0``, ``name1`` … of these types, or of arrays of them."""
    return SQL(", ").join(
        SQL("{}::{}" + many).format(Placeholder(f"{name}{number}"), Identifier(each))
        for number, each in enumerate(types)
    )
