"""The data keys of people: made, wrapped by the master key, unwrapped once in each process.

Owns the table ``subject_keys`` and the ciphers that a process remembers. A key lies in the table
wrapped (``adapters.sealing``); here are only ciphers, in memory. A subject whose key was destroyed
keeps a row without one: nobody can give it another.

A process hears of erasures by asking once a second (``heed``): then it forgets their ciphers, so
that three seconds after an erasure nothing can read what was sealed. ``size`` bounds the memory,
some 2.4 kB a cipher; it is more than the subjects that one page of events can have.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

import psycopg
import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.ending import end
from adapters.postgres.pipeline import Pipeline, Statement
from adapters.postgres.reader import SET_USER
from adapters.sealing import Unsealable, generation_of

log = structlog.get_logger()

SIZE = 10_000
"""Ciphers that a process remembers."""
HEED = 1.0
"""Seconds between looks for erasures."""
_SLACK = 60.0
"""Seconds by which a look reaches back beyond the last one, for erasures that committed late."""

_LOAD = "SELECT subject_id, wrapped FROM subject_keys WHERE subject_id = ANY ({})"
_CREATE = """
INSERT INTO subject_keys (subject_id, wrapped, master_generation)
SELECT * FROM unnest({}, {}, {}) ON CONFLICT DO NOTHING
"""
_ERASED = """
SELECT subject_id FROM subject_keys
WHERE erased_at IS NOT NULL AND erased_at > now() - {} * interval '1 second'
"""
LOAD = Statement("subject_keys_load", _LOAD.format("$1"), ("uuid[]",))
CREATE = Statement(
    "subject_keys_create", _CREATE.format("$1", "$2", "$3"), ("uuid[]", "bytea[]", "text[]")
)
ERASED = Statement("subject_keys_erased", _ERASED.format("$1"), ("float8",))
SET_OPERATOR = Statement("set_operator", "SELECT set_config('mindstream.operator', 'on', true)", ())


class Sealer(Protocol):
    """Encrypts under the master key; ``adapters.sealing.Sealer`` is one."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt; ``context`` is authenticated and must be given again to open."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt what ``seal`` made."""
        ...


class SubjectKeys:
    """The ciphers of the subjects that this process has met.

    ``ciphers`` is for looking up by the subject's 16 bytes: a subject that is missing there is to
    be loaded first, one with None was erased. Several threads may use it.
    """

    def __init__(self, sealer: Sealer, *, size: int = SIZE) -> None:
        self.ciphers: dict[bytes, AESGCM | None] = {}
        self._sealer = sealer
        self._size = size
        self._lock = threading.Lock()
        self._heeded = time.monotonic()

    def __reduce__(self) -> Any:
        """In another process it begins without any cipher."""
        return SubjectKeys, (self._sealer,)

    async def load(self, pipeline: Pipeline, subjects: Iterable[bytes]) -> None:
        """Look up the keys of these subjects that are not known.

        Raises:
            psycopg.Error: the database does not answer.
            adapters.sealing.Unsealable: the master key that wrapped one is not ours.
        """
        ids, kept = self._unknown(subjects)
        if ids:
            # A reader is shown the key of whom it reads for, or all of them to list for operators.
            ask = (SET_USER, (str(ids[0]),)) if len(ids) == 1 else (SET_OPERATOR, ())
            _, rows = await pipeline.run(ask, (LOAD, (ids,)))
            self._take(ids, rows, kept)

    async def ensure(self, pipeline: Pipeline, subjects: Iterable[bytes]) -> None:
        """Look up their keys, and make those that never were. Of two who make one, one wins."""
        ids, kept = self._unknown(subjects)
        if ids:
            # Nearly always they are there: that is looked up before anything is made.
            [rows] = await pipeline.run((LOAD, (ids,)))
            if new := _without(ids, rows):
                _, made = await pipeline.run((CREATE, self._fresh(new)), (LOAD, (new,)))
                rows = [*rows, *made]
            self._take(ids, rows, kept)

    def load_by(
        self, connection: psycopg.Connection[Any], subjects: Iterable[bytes], *, make: bool = False
    ) -> None:
        """The same on a connection that autocommits, making those that never were if asked to."""
        ids, kept = self._unknown(subjects)
        if ids:
            load = _LOAD.format("%s::uuid[]").encode()
            rows = connection.execute(load, (ids,)).fetchall()
            if make and (new := _without(ids, rows)):
                query = _CREATE.format("%s::uuid[]", "%s::bytea[]", "%s::text[]")
                connection.execute(query.encode(), self._fresh(new))
                rows += connection.execute(load, (new,)).fetchall()
            self._take(ids, rows, kept)

    def opens(self, subject_id: UUID, wrapped: bytes) -> bool:
        """Whether the master key that wrapped this subject's key is ours."""
        try:
            self._sealer.open(wrapped, key_context(subject_id))
        except Unsealable:
            return False
        return True

    async def heed(self, pipeline: Pipeline) -> None:
        """Forget the ciphers of those who were erased since this was last called."""
        began = time.monotonic()
        [rows] = await pipeline.run((ERASED, (began - self._heeded + _SLACK,)))
        self._heeded = began
        self.forget(row[0] for row in rows)

    def heed_by(self, connection: psycopg.Connection[Any]) -> None:
        """The same on another connection, if it is time to."""
        began = time.monotonic()
        if began - self._heeded < HEED:
            return
        query = _ERASED.format("%s").encode()
        rows = connection.execute(query, (began - self._heeded + _SLACK,), prepare=True).fetchall()
        self._heeded = began
        self.forget(row[0] for row in rows)

    @asynccontextmanager
    async def heeding(self, pipeline: Pipeline) -> AsyncIterator[None]:
        """Heed erasures once a second as long as the context lasts."""
        task = asyncio.create_task(self._heed_on(pipeline))
        try:
            yield
        finally:
            await end(task)

    async def _heed_on(self, pipeline: Pipeline) -> None:
        while True:
            await asyncio.sleep(HEED)
            try:
                await self.heed(pipeline)
            except psycopg.Error as error:
                log.warning("erasures_not_heeded", reason=type(error).__name__)

    def forget(self, erased: Iterable[UUID]) -> None:
        """These subjects were erased: nothing opens what was sealed for them."""
        with self._lock:
            for subject_id in erased:
                self.ciphers[subject_id.bytes] = None

    def _unknown(self, subjects: Iterable[bytes]) -> tuple[list[UUID], list[bytes]]:
        """The ids of those to be looked up, and those that are wanted beside them."""
        wanted = dict.fromkeys(subjects)
        ids = [UUID(bytes=each) for each in wanted if each not in self.ciphers]
        return ids, [each for each in wanted if each in self.ciphers]

    def _fresh(self, ids: Sequence[UUID]) -> tuple[Sequence[UUID], list[bytes], list[str]]:
        wrapped = [self._sealer.seal(os.urandom(32), key_context(each)) for each in ids]
        return ids, wrapped, [generation_of(each) for each in wrapped]

    def _take(
        self,
        asked: Iterable[UUID],
        rows: Iterable[tuple[UUID, bytes | None]],
        kept: Iterable[bytes],
    ) -> None:
        found: dict[bytes, AESGCM | None] = dict.fromkeys(each.bytes for each in asked)
        for subject_id, wrapped in rows:
            if wrapped is not None:
                found[subject_id.bytes] = AESGCM(
                    self._sealer.open(wrapped, key_context(subject_id))
                )
        with self._lock:
            for subject in kept:  # what is in use now goes last
                if subject in self.ciphers:
                    self.ciphers[subject] = self.ciphers.pop(subject)
            self.ciphers.update(found)
            for subject in list(self.ciphers)[: max(0, len(self.ciphers) - self._size)]:
                del self.ciphers[subject]


def _without(ids: Sequence[UUID], rows: Iterable[tuple[UUID, bytes | None]]) -> list[UUID]:
    """Those of whom there is no row, not even that of a key that was destroyed."""
    found = {row[0] for row in rows}
    return [each for each in ids if each not in found]


def key_context(subject_id: UUID) -> bytes:
    """What a data key is wrapped with, beside the master key."""
    return b"subject-key/" + subject_id.bytes
