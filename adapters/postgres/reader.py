"""The read side's queries on pipelined connections, each under its user's row-level security."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import psycopg

from adapters.postgres.pipeline import Pipeline, PipelineLost, Statement
from adapters.postgres.standby import CONFLICTS
from projections.reading import Query, ReadUnavailable

SET_USER = Statement("set_user", "SELECT set_config('mindstream.user_id', $1, true)", ("text",))


class PipelineReader:
    """``projections.reading``'s readers on one or more shared connections, used in turn."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._next = itertools.cycle(pipelines).__next__
        self._statements: dict[str, Statement] = {}

    def rows(
        self, query: Query, *parameters: Any, user_id: UUID
    ) -> Coroutine[Any, Any, list[tuple[Any, ...]]]:
        """All rows. The user's id and the query share one implicit transaction.

        Raises:
            ReadUnavailable: the database does not answer.
        """
        return self._rows(str(user_id), query, parameters)

    def rows_of(
        self, query: Query, *parameters: Any, user_ids: Sequence[UUID]
    ) -> Coroutine[Any, Any, list[tuple[Any, ...]]]:
        """All rows of these people, from tables whose policies take several.

        Raises:
            ReadUnavailable: the database does not answer.
        """
        return self._rows(",".join(map(str, user_ids)), query, parameters)

    async def _rows(
        self, whose: str, query: Query, parameters: tuple[Any, ...]
    ) -> list[tuple[Any, ...]]:
        statement = self._statements.get(query.name)
        if statement is None:
            statement = Statement(query.name, query.sql, query.parameters)
            self._statements[query.name] = statement
        try:
            try:
                _, rows = await self._next().run((SET_USER, (whose,)), (statement, parameters))
            except CONFLICTS:
                # A standby cancels what stands in the way of its replay, which then is over it.
                _, rows = await self._next().run((SET_USER, (whose,)), (statement, parameters))
        except (PipelineLost, *CONFLICTS) as error:
            raise ReadUnavailable(str(error)) from error
        except psycopg.errors.QueryCanceled as error:
            raise ReadUnavailable("the query took too long") from error
        return rows
