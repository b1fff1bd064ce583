"""Application logs as JSON lines, one shape for structlog and the standard library.

A line is ``{"timestamp", "level", "service", "message", "context", "error", "pod", "node"}``:
``level`` is DEBUG, INFO, WARN, ERROR or FATAL; ``service`` the role, ``pod`` the process of it and
``node`` the machine; ``context`` says where in the code it was written and what its writer adds;
``error`` is there where an exception is told.

Owns that shape, and that nothing private is in it. It does not look for secrets among what is
written: it lets through what is known to be harmless. Text passes only under the names of ``SAFE``,
numbers and ids pass under any; of an exception its type and place are told and its text only where
that comes from code; other people's libraries keep their words but lose what they put into them.
What is left is searched for the marks of secrets all the same.
"""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from traceback import extract_tb
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

import msgspec
import structlog

MASKED = "[redacted]"
SAFE = frozenset(
    """
    action actor application_name attempt built causes code error event_type function job key_id
    kid kind level line logger message_id method mode name names operation operation_id outcome
    owner path_template process projection projections query_id queue reaction reason request_id
    role route
    server service setting sqlstate state status step store stream_id table template thread topic
    trace_id upstream user_id version view what
    """.split()
)
"""Names under which text may be logged: of things of ours, never of what somebody wrote."""

_OURS = ("mindstream",)
"""Loggers of the standard library whose messages are our own."""
_LEVELS = {"warning": "WARN", "critical": "FATAL", "exception": "ERROR"}
_HARMLESS = (bool, int, float, UUID, datetime, date, timedelta, type(None))
_LONGEST = 2_000
_TEXT_COMES_FROM_CODE = (
    AssertionError,
    AttributeError,
    ImportError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
)
_MARKS = re.compile(
    r"""
    (?P<jwt> eyJ[\w-]{5,}\.[\w-]*\.?[\w-]*)
    | (?P<scheme> (?i:\b(?:bearer|basic)\s+)[^\s,;"']+)
    | (?P<dsn> (?<=://)[^\s/@]*:[^\s/@]+(?=@))
    | (?P<named> (?i:\b[\w-]*(?:authorization|cookie|passw(?:or)?d|secret|token|api[_-]?key|totp)
        [\w-]*["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s,;&)}]+))
    | (?P<mail> [^\s@<>"'(),;:=]+@[^\s@<>"'(),;:=]+\.[^\s@<>"'(),;:=]+)
    | (?P<long> \b[A-Za-z0-9_-]{40,}\b)
    """,
    re.VERBOSE,
)
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id of ours within a long word makes it a stream's name, or the like, and no secret."""

Event = structlog.types.EventDict


def scrubbed(text: str) -> str:
    """The text without what looks like a secret or an address of somebody."""
    return _MARKS.sub(_masked, text)[:_LONGEST]


def _masked(found: re.Match[str]) -> str:
    return found[0] if found.lastgroup == "long" and _ID.search(found[0]) else MASKED


def configure(level: str, process: str, stream: TextIO | None = None) -> None:
    """Send everything from ``level`` up to a stream, marked with the process's name.

    The stream is standard output unless another is given. What would end the process or one of its
    threads is told in the same way, since a bare traceback quotes data.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    called = structlog.processors.CallsiteParameterAdder(
        {
            structlog.processors.CallsiteParameter.FUNC_NAME,
            structlog.processors.CallsiteParameter.LINENO,
        }
    )
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, called],
            pass_foreign_args=True,
            processors=[
                _Shape(process),
                structlog.processors.JSONRenderer(serializer=_serialise),
            ],
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for noisy in ("_granian", "granian.access", "asyncio", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            called,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _tell_uncaught
    threading.excepthook = _tell_uncaught_in_thread


_beside: list[Callable[[], Mapping[str, str]]] = []


def tell_beside(told: Callable[[], Mapping[str, str]]) -> None:
    """Have each line say at its top what this gives: of a trace, ``trace_id`` and ``span_id``."""
    _beside[:] = [told]


class _Shape:
    """The last step before a line is written: everything into its place, or masked."""

    def __init__(self, process: str) -> None:
        name, _, number = process.rpartition("-")
        self._service = name if number.isdigit() else process
        self._pod = process
        self._node = socket.gethostname()

    def __call__(self, _: object, __: str, event: Event) -> Event:
        record: logging.LogRecord | None = event.pop("_record", None)
        ours = event.pop("_from_structlog", False)
        arguments = event.pop("positional_args", None)
        level = str(event.pop("level", "info"))
        message = str(event.pop("event", ""))
        if not ours and record is not None and not record.name.startswith(_OURS):
            message = _words_of(str(record.msg), arguments)
        exception = event.pop("exc_info", None)
        if exception is None and record is not None:
            exception = record.exc_info
        event.pop("stack", None)
        event.pop("stack_info", None)
        line: Event = {
            "timestamp": event.pop("timestamp", None),
            "level": _LEVELS.get(level, level.upper()),
            "service": self._service,
            "message": scrubbed(message),
        }
        for beside in _beside:
            line.update(beside())
        if "func_name" in event:
            event["function"] = event.pop("func_name")
        if "lineno" in event:
            event["line"] = event.pop("lineno")
        duration = event.pop("duration_ms", None)
        line["context"] = {str(name): harmless(str(name), value) for name, value in event.items()}
        if (told := _error(exception)) is not None:
            line["error"] = told
        if isinstance(duration, int | float):
            line["duration"] = duration
        line["pod"] = self._pod
        line["node"] = self._node
        return line


def line(process: str, level: str, message: str, **context: object) -> str:
    """A line of this shape, about a process by one that has a log of its own."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event: Event = {"event": message, "level": level, "timestamp": now, **context}
    return _serialise(_Shape(process)(None, "", event))


def harmless(name: str, value: Any) -> Any:
    """The value, if one of this name and type may be logged; else what stands for it."""
    if isinstance(value, _HARMLESS):
        return value
    if name in SAFE:
        if isinstance(value, str):
            # A letter's id has the form of an address, and is ours.
            return value if name == "message_id" else scrubbed(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [harmless(name, each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): harmless(str(key), each) for key, each in value.items()}
    return MASKED


def _words_of(template: str, arguments: Any) -> str:
    """A library's message with numbers filled in, and nothing else of what it was about."""
    if not arguments:
        return template
    try:
        if isinstance(arguments, Mapping):
            return template % {key: _number(value) for key, value in arguments.items()}
        return template % tuple(_number(value) for value in arguments)
    except (TypeError, ValueError, KeyError):
        return template


def _number(value: object) -> object:
    return value if isinstance(value, int | float) else MASKED


def _error(exception: Any) -> dict[str, Any] | None:
    """What an exception was and where it came from; its text only where code has written it."""
    if exception is True:
        exception = sys.exc_info()
    if isinstance(exception, tuple):
        exception = exception[1]
    if not isinstance(exception, BaseException):
        return None
    told: dict[str, Any] = {"name": _name(exception)}
    if isinstance(exception, _TEXT_COMES_FROM_CODE):
        told["message"] = scrubbed(str(exception))
    code = getattr(exception, "sqlstate", None)
    if isinstance(code, str):
        told["code"] = code
    causes: list[str] = []
    at: BaseException | None = exception
    while at is not None and len(causes) < 5:
        frames = extract_tb(at.__traceback__)[-12:]
        where = "\n".join(f"  at {frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        causes.append(f"{_name(at)}\n{where}")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    told["stack"] = "\ncaused by ".join(causes)
    return told


def _name(exception: BaseException) -> str:
    return f"{type(exception).__module__}.{type(exception).__qualname__}"


def _tell_uncaught(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("bootstrap").critical("uncaught", exc_info=(kind, error, where))


def _tell_uncaught_in_thread(happened: threading.ExceptHookArgs) -> None:
    error = happened.exc_value
    if error is not None and not isinstance(error, SystemExit):
        log = structlog.get_logger("bootstrap")
        log.critical("uncaught", exc_info=(type(error), error, happened.exc_traceback))


def _serialise(event: object, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=lambda _: MASKED).decode()
