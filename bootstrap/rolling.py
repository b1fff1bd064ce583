"""A rolling restart: every process replaced by a new one, one after the other, while work goes on.

Owns the order, and the socket by which ``mindstream restart`` asks the supervisor for it. How one
process takes the place of another is ``watch.py``'s. Servers (PostgreSQL, Valkey) are not replaced:
there is one of each, and nothing that could go on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec

from bootstrap.places import Places
from bootstrap.services import Process
from bootstrap.watch import CannotStart, Watch

ORDER = ("projector", "worker", "scheduler", "read-api", "write-api", "gateway")
"""Who reads events comes before who writes them: a new version may write events that an old one
cannot read, never the other way round."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of one process: that its successor starts, serves, or did not come up."""

    name: str
    state: Literal["starting", "replaced", "failed"]
    process: Process | None = None
    seconds: float | None = None
    detail: str | None = None


class Refused(Exception):
    """It is not a process that can be replaced."""


class NoSuchProcess(Exception):
    """There is none of this name or role; ``known`` are those that there are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = known


class _Wanted(msgspec.Struct, frozen=True):
    names: tuple[str, ...]


class Restarts:
    """Listens for wishes to restart, and fulfils them one at a time; ``begin`` is called before."""

    def __init__(
        self,
        places: Places,
        watches: Sequence[Watch],
        say: Callable[[str], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._begin = begin
        self._path = places.control
        self._watches = watches
        self._say = say
        self._one_at_a_time = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._heed, str(self._path))

    async def close(self) -> None:
        """Give up, in the middle of a restart if need be; what is half replaced goes on."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _heed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            wanted = msgspec.json.decode(await reader.readline(), type=_Wanted)
            async with self._one_at_a_time:
                await self._restart(wanted.names, writer)
        except msgspec.DecodeError:
            pass  # whoever looked in said nothing
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _restart(self, names: tuple[str, ...], writer: asyncio.StreamWriter) -> None:
        def tell(step: Step) -> None:
            # Who asked may have stopped listening; the restart goes on.
            if not writer.is_closing():
                writer.write(msgspec.json.encode(step) + b"\n")

        self._begin()
        for watch in in_order(self._watches, names):
            name = watch.service.name
            began = time.monotonic()
            tell(Step(name=name, state="starting"))
            try:
                await watch.replace()
            except CannotStart as error:
                self._say(f"{name} was not replaced: {error}")
                tell(Step(name=name, state="failed", detail=str(error)))
                return
            took = round(time.monotonic() - began, 3)
            self._say(f"{name} was replaced")
            tell(Step(name=name, state="replaced", process=watch.described, seconds=took))


def role_of(name: str) -> str:
    """The role of a process: its name less the number that it has where there are several."""
    base, _, number = name.rpartition("-")
    return base if number.isdigit() else name


def chosen(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Which of these processes are meant, roles or names or (if none is wanted) all, in order.

    Raises ``Refused``, ``NoSuchProcess``.
    """
    roles = [name for name in known if role_of(name) in ORDER]
    for name in wanted:
        if name in known and name not in roles:
            raise Refused(f"{name} is a server, of which there is one: it cannot be replaced")
        if name not in roles and name not in map(role_of, roles):
            raise NoSuchProcess(name, roles)
    meant = [name for name in roles if not wanted or {name, role_of(name)} & set(wanted)]
    return sorted(meant, key=lambda name: ORDER.index(role_of(name)))


def in_order(watches: Sequence[Watch], names: Sequence[str]) -> list[Watch]:
    """The watches of these processes, in the order of the names."""
    by_name = {watch.service.name: watch for watch in watches}
    return [by_name[name] for name in names if name in by_name]


def ask(places: Places, names: Sequence[str]) -> Iterator[Step]:
    """Ask the supervisor of this home for a restart; what it says of each step, as it happens.

    Raises ``OSError`` if it does not listen (yet).
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asking:
        asking.connect(str(places.control))
        asking.sendall(msgspec.json.encode(_Wanted(tuple(names))) + b"\n")
        with asking.makefile("rb") as said:
            for line in said:
                yield msgspec.json.decode(line, type=Step)
