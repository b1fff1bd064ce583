"""The eventsourcing library's Application and factory on our recorder and mapper.

Name this module in ``PERSISTENCE_MODULE`` and give ``MINDSTREAM_WRITE_DSN`` in the application's
environment, and any ``eventsourcing.application.Application`` stores its events here. Those with
personal fields are sealed, which takes ``MINDSTREAM_MASTER_KEY`` as well. Tracking and
process recorders are refused: projections have an engine of their own.
"""

from __future__ import annotations

from base64 import b64decode
from functools import cached_property
from typing import Any, ClassVar

from eventsourcing.application import Application
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    Mapper,
    ProcessRecorder,
    ProgrammingError,
    TrackingRecorder,
    Transcoder,
)

from adapters.event_store.mapper import EventMapper
from adapters.event_store.recorder import (
    Pool,
    PostgresRecorder,
    PostgresSnapshotRecorder,
    open_pool,
)
from adapters.event_store.subject_keys import SubjectKeys
from adapters.sealing import Sealer


class _MasterKey:
    """Wraps data keys as soon as there is a need: an application may have nothing personal."""

    def __init__(self, encoded: str | None) -> None:
        self._encoded = encoded

    @cached_property
    def _sealer(self) -> Sealer:
        if not self._encoded:
            raise ProgrammingError("MINDSTREAM_MASTER_KEY is not in the environment")
        return Sealer(b64decode(self._encoded))

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        return self._sealer.seal(plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        return self._sealer.open(sealed, context)


class Factory(InfrastructureFactory[TrackingRecorder]):
    """Makes our recorders and our mapper for the library."""

    _pool: Pool | None = None
    _keys: SubjectKeys | None = None

    @property
    def pool(self) -> Pool:
        """Connections, opened at first use."""
        if self._pool is None:
            dsn = self.env.get("MINDSTREAM_WRITE_DSN")
            if not dsn:
                raise ProgrammingError("MINDSTREAM_WRITE_DSN is not in the environment")
            self._pool = open_pool(dsn, role="mindstream_write")
        return self._pool

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[Any]] | None = None
    ) -> Mapper[Any]:
        """The mapper for msgspec events; the library's transcoders do not apply to them."""
        return EventMapper(self.keys.ciphers, self._load)

    @property
    def keys(self) -> SubjectKeys:
        """The keys that personal fields are sealed with."""
        if self._keys is None:
            self._keys = SubjectKeys(_MasterKey(self.env.get("MINDSTREAM_MASTER_KEY")))
        return self._keys

    def _load(self, subject: bytes, make: bool) -> None:
        with self.pool.connection() as connection:
            self.keys.load_by(connection, [subject], make=make)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Snapshots for that purpose, the event store for any other."""
        if purpose == "snapshots":
            return PostgresSnapshotRecorder(self.pool)
        return PostgresRecorder(self.pool)

    def application_recorder(self) -> ApplicationRecorder:
        """The event store."""
        return PostgresRecorder(self.pool)

    def tracking_recorder(
        self, tracking_recorder_class: type[TrackingRecorder] | None = None
    ) -> TrackingRecorder:
        """Refused.

        Raises:
            ProgrammingError: always.
        """
        raise ProgrammingError("projections keep their own checkpoints: see projections/engine")

    def process_recorder(self) -> ProcessRecorder:
        """Refused.

        Raises:
            ProgrammingError: always.
        """
        raise ProgrammingError("projections keep their own checkpoints: see projections/engine")

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class StoreApplication(Application[str]):
    """The library's application over this store: repository, notification log, subscriptions."""

    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": f"{__name__}:Factory"}
