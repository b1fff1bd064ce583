"""Logs as JSON lines, one shape for structlog and the standard library.

Owns the shape: ``timestamp, level, logger, event, process`` and whatever the writer adds. Request
bodies, query strings and secrets are the writer's to leave out.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import msgspec
import structlog


def configure(level: str, process: str, stream: TextIO | None = None) -> None:
    """Send everything from ``level`` up to a stream, marked with the process's name.

    The stream is standard output unless another is given.
    """
    number = logging.getLevelNamesMapping()[level.upper()]

    def named(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["process"] = process
        return event

    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        named,
    ]
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
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
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _serialise(event: object, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()
