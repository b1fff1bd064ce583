"""The broker: carries ids of operations from those who accept them to those who do them.

Owns the set-up of dramatiq. Everything it holds may be lost: ``operations`` is the truth, and the
scheduler offers again what nobody took. Retries are therefore not dramatiq's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Generic, TypeVar
from uuid import UUID

import dramatiq
import redis
import structlog
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Middleware, Retries, ShutdownNotifications, TimeLimit

T = TypeVar("T")
log = structlog.get_logger()

QUEUE = "operations"
"""The one queue of operations of all kinds; the actor's name is the kind."""
NAMESPACE = "mindstream:jobs"
"""What the keys of the broker in Redis begin with."""
TIME_LIMIT = 24 * 3600 * 1000
"""Milliseconds after which work is given up as hung; the lease tells about the dead much sooner."""
ANSWER_WITHIN = 2.0
"""Seconds that the broker has for an answer."""


def redis_broker(url: str, *, works: bool) -> RedisBroker:
    """A broker on Redis or Valkey; ``works`` for those that run actors and do not only send.

    It connects when it is first used.
    """
    middleware: list[Middleware] = [
        TimeLimit(time_limit=TIME_LIMIT),
        ShutdownNotifications(),
        Retries(max_retries=0),
    ]
    if works:
        middleware.append(AsyncIO())
    client = redis.Redis.from_url(
        url, socket_timeout=ANSWER_WITHIN, socket_connect_timeout=ANSWER_WITHIN
    )
    broker = RedisBroker(  # type: ignore[no-untyped-call]  # dramatiq leaves it without types
        client=client, middleware=middleware, namespace=NAMESPACE, heartbeat_timeout=15_000
    )
    broker.declare_queue(QUEUE)
    return broker


class OnLoop(Middleware, Generic[T]):
    """What actors share, opened once on the worker's event loop and closed there in the end.

    ``open_all`` registers with the stack what is to be closed. Add it to the broker as middleware;
    call it in an actor.
    """

    def __init__(self, open_all: Callable[[AsyncExitStack], Awaitable[T]]) -> None:
        self._open_all = open_all
        self._closing = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._opened: list[T] = []

    async def __call__(self) -> T:
        """The shared things, opened by whoever asks first."""
        async with self._opening:
            if not self._opened:
                self._opened.append(await self._open_all(self._closing))
        return self._opened[0]

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Close them, while the loop still runs: it ends with the middleware before this one."""
        loop = get_event_loop_thread()
        if loop is not None and self._opened:
            loop.run_coroutine(self._closing.aclose())


class Offers:
    """Hands operations to the broker."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker
        self._under_way: set[asyncio.Task[bool]] = set()

    async def offer(self, kind: str, operation_id: UUID) -> bool:
        """Whether the broker took it; if not, the scheduler will try again."""
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=QUEUE,
            actor_name=kind,
            args=(str(operation_id),),
            kwargs={},
            options={},
        )
        try:
            await asyncio.to_thread(self._broker.enqueue, message)
        except (dramatiq.DramatiqError, redis.RedisError, OSError) as error:
            log.warning("broker_unreachable", reason=type(error).__name__)
            return False
        return True

    def offer_soon(self, kind: str, operation_id: UUID) -> None:
        """Offer it without waiting: whoever accepted it has nothing to lose by a late start."""
        task = asyncio.create_task(self.offer(kind, operation_id))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


def declare(
    broker: dramatiq.Broker, kind: str, work_on: Callable[[UUID], Awaitable[None]]
) -> dramatiq.Actor[[str], None]:
    """Declare the actor of one kind of operation; ``work_on`` takes the operation's id."""

    async def run(operation_id: str) -> None:
        await work_on(UUID(operation_id))

    declared = dramatiq.actor(
        broker=broker,
        actor_name=kind,
        queue_name=QUEUE,
        max_retries=0,
        time_limit=TIME_LIMIT,
        notify_shutdown=True,
    )
    return declared(run)


def work(broker: RedisBroker, stop: threading.Event, *, threads: int = 4) -> None:
    """Run the broker's actors until ``stop`` is set; what is under way has 5 s to come to rest.

    What does not come to rest is given up, and done by another worker when its lease is over.
    """
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=200)
    worker.start()
    try:
        stop.wait()
    finally:
        worker.stop(timeout=5_000)
        broker.close()
