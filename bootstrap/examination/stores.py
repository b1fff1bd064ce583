"""What lies beside the databases: Redis, the index, the store of files, mail, and the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import redis

from bootstrap.examination.finding import Finding, failed, ok, warning
from bootstrap.examination.here import LEAST_DISK_BYTES
from bootstrap.places import Places
from bootstrap.settings import Settings, masked
from commands.journal_attachments import ObjectsUnavailable
from commands.mail import MailUnavailable

OLDEST_REDIS = (6, 2)
FULL = 0.9
WITHIN = 3.0
_BLOCK = "index.blocks.read_only_allow_delete"


class _Ready(msgspec.Struct):
    """What is read of ``/health/ready``."""

    checks: dict[str, dict[str, Any]] = {}


def redis_findings(settings: Settings) -> Iterator[Finding]:
    """Whether it answers, is new enough, and keeps jobs that are waiting."""
    url = settings.redis_url or ""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=WITHIN, socket_connect_timeout=WITHIN, decode_responses=True
        ) as client:
            client.ping()
            policy = _policy(client)
            told: dict[str, Any] = {}
            with contextlib.suppress(redis.ResponseError):
                told = client.info()
    except redis.AuthenticationError:
        yield failed("redis_url", f"{masked(url)} refuses the password", "see `requirepass` there")
        return
    except redis.RedisError as error:
        said = f"{masked(url)}: {error}"
        remedy = "writes go on; jobs wait, logins are refused: is it up, and the address right?"
        yield failed("redis_url", said, remedy)
        return
    version = str(told.get("redis_version", "0"))
    named = f"{told.get('server_name', 'redis')} {told.get('valkey_version', version)}"
    if told and tuple(map(int, version.split(".")[:2])) < OLDEST_REDIS:
        yield failed("redis_url", f"{named} is too old", "6.2 or newer, or Valkey, is needed")
        return
    if told.get("role") == "slave":
        yield failed(
            "redis_url", f"{named} is a replica", "name the primary in MINDSTREAM_REDIS_URL"
        )
        return
    yield ok("redis_url", f"{named} answers")
    yield eviction(policy, int(told.get("used_memory", 0)), int(told.get("maxmemory", 0)))


def _policy(client: redis.Redis) -> str | None:
    """What it does when its memory is full; None where it does not tell."""
    with contextlib.suppress(redis.ResponseError):
        return client.config_get("maxmemory-policy").get("maxmemory-policy")
    return None


def eviction(policy: str | None, used: int, most: int) -> Finding:
    """Whether it may throw away what waits in queues, or is full and can throw away nothing."""
    limit = f"{most >> 20} MB" if most else "no limit"
    detail = f"{used >> 20} MB of {limit}, {policy or 'policy not told'}"
    if policy is not None and policy.startswith("allkeys"):
        said = f"maxmemory-policy is {policy}: jobs may be thrown away, and are done late"
        return warning("redis memory", said, "CONFIG SET maxmemory-policy volatile-lru")
    if most and used >= FULL * most and policy == "noeviction":
        said = f"{detail}: it refuses what is new"
        return warning(
            "redis memory", said, "raise maxmemory, or set maxmemory-policy volatile-lru"
        )
    return ok("redis memory", detail)


def search(settings: Settings) -> Iterator[Finding]:
    """Whether the index answers, has all its shards, and takes documents."""
    url = settings.search_url
    if url is None:
        yield ok("search_url", "not set: PostgreSQL searches")
        return
    from elastic_transport import TransportError  # noqa: PLC0415 - it takes seconds to import
    from elasticsearch import ApiError  # noqa: PLC0415

    from adapters.search.client import client, version_of  # noqa: PLC0415

    version = version_of(url)
    if version is None:
        remedy = (
            "search answers 503 meanwhile and catches up later: is it up, and the address right?"
        )
        yield failed("search_url", f"{masked(url)} does not answer", remedy)
        return
    yield ok("search_url", f"{version} answers")
    try:
        with client(url) as asking:
            status = str(asking.options(request_timeout=WITHIN).cluster.health()["status"])
            settings_of = asking.indices.get_settings(
                index="mindstream-*", name=_BLOCK, flat_settings=True, ignore_unavailable=True
            )
    except (TransportError, ApiError) as error:
        yield warning("search cluster", f"tells nothing: {type(error).__name__}", "see its log")
        return
    blocked = [
        name
        for name, index in settings_of.items()
        if index.get("settings", {}).get(_BLOCK) in ("true", True)
    ]
    yield cluster(status, blocked)


def cluster(status: str, blocked: list[str]) -> Finding:
    """Whether every document can be found, and new ones be written."""
    if blocked:
        detail = f"read-only, since its disk was nearly full: {', '.join(blocked)}"
        remedy = f"make room there, then set {_BLOCK} to null"
        return failed("search cluster", detail, remedy)
    if status == "red":
        detail = "red: parts of an index are lost"
        return failed("search cluster", detail, "`mindstream projections rebuild journal.search`")
    return ok("search cluster", status)


def files(settings: Settings) -> Iterator[Finding]:
    """Whether attachments can be kept: by keeping a few bytes for a moment."""
    if settings.s3_bucket is None:
        yield _folder(settings)
        return
    from adapters.objects.s3 import S3Objects  # noqa: PLC0415 - it takes seconds to import
    from bootstrap.wiring.objects import bucket_of  # noqa: PLC0415

    objects = S3Objects(bucket_of(settings, settings.s3_bucket))

    async def probe() -> None:
        async with objects.opened(), asyncio.timeout(5 * WITHIN):
            await objects.probe()

    try:
        asyncio.run(probe())
    except (ObjectsUnavailable, TimeoutError, ValueError) as error:
        said = (
            f"the bucket {settings.s3_bucket} takes nothing: {str(error) or type(error).__name__}"
        )
        remedy = "it must exist, and its key have GetObject, PutObject, DeleteObject, ListBucket"
        yield failed("files", said, remedy)
    else:
        yield ok("files", f"the bucket {settings.s3_bucket} takes and drops them")


def _folder(settings: Settings) -> Finding:
    folder = Places(settings.home).objects
    existing = folder
    while not os.access(existing, os.F_OK):
        existing = existing.parent
    try:
        # What only runs as another user must not be made by this one.
        if existing == folder:
            with tempfile.TemporaryFile(dir=folder):
                pass
        elif not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError
    except OSError as error:
        detail = f"{folder} cannot be written to: {type(error).__name__}"
        return failed("files", detail, "give it to the user that runs the processes, or name S3")
    free = shutil.disk_usage(existing).free
    if free < LEAST_DISK_BYTES:
        return failed("files", f"{free >> 20} MB free at {folder}", "make room, or name S3")
    return ok("files", f"{folder} can be written to")


def mail(settings: Settings) -> Finding:
    """Whether letters can leave: by a greeting, without sending one."""
    if settings.smtp_url is None:
        return ok("mail", f"not sent: letters are files in {Places(settings.home).mail}")
    from adapters.mail.smtp import SmtpMail  # noqa: PLC0415 - only where mail leaves

    where = masked(settings.smtp_url)
    try:
        asyncio.run(SmtpMail(settings.smtp_url, settings.mail_from).greet())
    except MailUnavailable as error:
        said = f"{where} does not let us in: {error}"
        remedy = "letters wait meanwhile. Port 587 is STARTTLS (smtp://), 465 is TLS (smtps://)"
        return failed("mail", said, f"{remedy}; are user and password right?")
    if settings.mail_from.rstrip(">").endswith("@localhost"):
        detail = f"{where} answers, and letters are from {settings.mail_from}"
        return warning("mail", detail, "set MINDSTREAM_MAIL_FROM, or they count as spam")
    return ok("mail", f"{where} answers")


def gateway(address: str) -> Iterator[Finding]:
    """What ``/health/ready`` says, one finding for each dependency that is not well."""
    try:
        with urllib.request.urlopen(f"{address}/health/ready", timeout=10) as answer:  # noqa: S310
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except OSError as error:
        remedy = "HOME/log/gateway.log says why; `mindstream services` lists what runs"
        yield failed("gateway", f"{address} does not answer: {error}", remedy)
        return
    checks = _checks(body)
    ill = {name: one for name, one in checks.items() if one.get("status") != "ok"}
    for name, one in ill.items():
        said = f"the read API finds {name} {one.get('status')}: {one.get('detail')}"
        yield (failed if one.get("status") == "unavailable" else warning)(
            f"ready: {name}", said, f"see what is said of {name} above"
        )
    if status == 200:
        yield ok("gateway", f"/health/ready answers {status}")
    else:
        yield failed("gateway", f"/health/ready answers {status}", "HOME/log/read-api.log says why")


def _checks(body: bytes) -> dict[str, dict[str, Any]]:
    with contextlib.suppress(msgspec.DecodeError):  # a proxy may answer in its own words
        return msgspec.json.decode(body, type=_Ready).checks
    return {}
