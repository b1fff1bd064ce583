"""Every setting of Mindstream: its name, type, default and meaning, and how it is read.

Owns the only reader of the environment. A setting comes from the variable ``MINDSTREAM_<NAME>``
or, failing that, from the TOML file that ``MINDSTREAM_CONFIG`` names (by default
``mindstream.toml`` in the working folder, if there is one). All faults are reported at once.
It starts nothing and opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from bootstrap.server_addresses import postgres, url

PREFIX = "MINDSTREAM_"
CONFIG_FILE = "MINDSTREAM_CONFIG"
MASK = "********"

LogLevel = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=64)]


def _says(text: str, *, secret: bool = False, dsn: bool = False) -> msgspec.Meta:
    return msgspec.Meta(description=text, extra={"secret": secret, "dsn": dsn})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, checked. Each field's description is what ``mindstream config show`` prints."""

    home: Annotated[Path, _says("Folder of all embedded state; made if missing")] = Path(
        ".mindstream"
    )
    port: Annotated[Port, _says("Loopback port of the gateway")] = 8000
    write_dsn: Annotated[
        str | None, _says("PostgreSQL for writing; unset: the embedded one", dsn=True)
    ] = None
    read_dsn: Annotated[
        str | None,
        _says("PostgreSQL for reading, may be a standby; unset: as for writing", dsn=True),
    ] = None
    owner_dsn: Annotated[
        str | None, _says("PostgreSQL as the owner of the schema, for migrations", dsn=True)
    ] = None
    timeseries_dsn: Annotated[
        str | None,
        _says("PostgreSQL or TimescaleDB for time series; unset: as for reading", dsn=True),
    ] = None
    timeseries_owner_dsn: Annotated[
        str | None, _says("The same as the owner of its schema; unset: the same address", dsn=True)
    ] = None
    full: Annotated[
        bool,
        _says("Fetch and run the real servers beside the embedded ones, where they can be had"),
    ] = False
    redis_url: Annotated[
        str | None, _says("Redis or Valkey; unset: the embedded one", dsn=True)
    ] = None
    search_url: Annotated[
        str | None, _says("Elasticsearch or OpenSearch; unset: PostgreSQL searches", dsn=True)
    ] = None
    demo: Annotated[bool, _says("Fill an empty store with a generated demo")] = True
    operator_email: Annotated[
        str | None, _says("Address of the operator made at the first start")
    ] = None
    operator_password: Annotated[
        str | None, _says("Password of the operator made at the first start", secret=True)
    ] = None
    rate_limit_per_minute: Annotated[
        Annotated[int, msgspec.Meta(ge=1)],
        _says("Requests a minute for each principal, or address before login"),
    ] = 600
    master_key: Annotated[
        str | None,
        _says("Base64 of the 32 bytes that wrap data keys; unset: HOME/master.key", secret=True),
    ] = None
    master_key_previous: Annotated[
        tuple[str, ...],
        _says("Earlier values of MASTER_KEY, newest first, separated by commas", secret=True),
    ] = ()
    jwt_private_key_file: Annotated[
        Path | None, _says("PEM file of the first signing key; unset: one is made")
    ] = None
    trusted_proxies: Annotated[
        tuple[str, ...],
        _says("Addresses or CIDRs whose X-Forwarded-For counts, separated by commas"),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        _says("Origins whose pages may read answers, separated by commas; keys list their own"),
    ] = ()
    github_client_id: Annotated[
        str | None, _says("Client id of the OAuth app for logins with GitHub; unset: none")
    ] = None
    github_client_secret: Annotated[str | None, _says("Secret of that OAuth app", secret=True)] = (
        None
    )
    github_url: Annotated[str, _says("GitHub, or a GitHub Enterprise Server")] = (
        "https://github.com"
    )
    max_body_bytes: Annotated[
        Annotated[int, msgspec.Meta(ge=1024)], _says("Longest request body, in bytes")
    ] = 1_048_576
    max_import_bytes: Annotated[
        Annotated[int, msgspec.Meta(ge=1024)], _says("Longest body of an import, in bytes")
    ] = 67_108_864
    log_level: Annotated[LogLevel, _says("Least level that is logged")] = "info"
    write_api_workers: Annotated[Count, _says("Processes of the write API")] = 1
    read_api_workers: Annotated[Count, _says("Processes of the read API")] = 1
    projectors: Annotated[Count, _says("Processes of the projector")] = 1
    workers: Annotated[Count, _says("Processes that run jobs")] = 1
    worker_threads: Annotated[Count, _says("Jobs that one worker process runs at once")] = 4
    write_api_address: Annotated[
        str | None,
        _says("Where the write API listens: unix:PATH or HOST:PORT; unset: a socket under HOME"),
    ] = None
    read_api_address: Annotated[
        str | None,
        _says("Where the read API listens: unix:PATH or HOST:PORT; unset: a socket under HOME"),
    ] = None
    public_url: Annotated[
        str | None, _says("Address at which people reach us; unset: the gateway on this machine")
    ] = None
    verify_email: Annotated[
        bool, _says("Let nobody log in before they have confirmed their address")
    ] = False
    smtp_url: Annotated[
        str | None,
        _says("Mail server, smtp:// or smtps://; unset: files under HOME/mail", dsn=True),
    ] = None
    mail_from: Annotated[str, _says("Sender of all mail")] = "Mindstream <no-reply@localhost>"
    idempotency_ttl_hours: Annotated[
        Annotated[int, msgspec.Meta(ge=24)], _says("Hours that answers are kept for retries")
    ] = 48
    body_timeout: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=3600)],
        _says("Seconds that a request's body may take, and one more for each 16 KiB of it"),
    ] = 30.0
    object_url_ttl_seconds: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=604_800)],
        _says("Seconds for which links to upload and download attachments work"),
    ] = 900
    s3_bucket: Annotated[
        str | None, _says("Bucket of attachments; unset: files under HOME/objects")
    ] = None
    s3_endpoint_url: Annotated[str | None, _says("Address of S3; unset: that of AWS")] = None
    s3_region: Annotated[str, _says("Region of the bucket")] = "us-east-1"
    s3_access_key_id: Annotated[
        str | None, _says("Access key of S3; unset: what AWS gives this machine")
    ] = None
    s3_secret_access_key: Annotated[str | None, _says("Secret of that key", secret=True)] = None
    s3_encryption: Annotated[
        Literal["AES256", "aws:kms", "none"], _says("How S3 is asked to encrypt what it keeps")
    ] = "AES256"
    hsts_seconds: Annotated[
        Annotated[int, msgspec.Meta(ge=0)],
        _says("Seconds for which browsers are told to insist on TLS; 0 where there is none"),
    ] = 0
    outgoing_allow: Annotated[
        tuple[str, ...],
        _says("Addresses or CIDRs of private networks that outgoing calls may reach all the same"),
    ] = ()
    audit_retention_days: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=36_500)], _says("Days that the audit log is kept")
    ] = 2557
    request_log_days: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=3650)], _says("Days that the log of requests is kept")
    ] = 90
    live_connections: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1000)],
        _says("Streams and WebSockets that a principal may have open at one read API process"),
    ] = 20
    live_comment_seconds: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=60)],
        _says("Seconds of silence after which a stream sends a comment to stay open"),
    ] = 15.0
    model_url: Annotated[
        str | None,
        _says("Base of an OpenAI-compatible API that tells insights; unset: the local analyser"),
    ] = None
    model: Annotated[str, _says("Name of the model there")] = "gpt-4o-mini"
    model_key: Annotated[str | None, _says("API key for it", secret=True)] = None
    model_timeout: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=3600)],
        _says("Seconds that one answer of it may take"),
    ] = 120.0
    model_chars: Annotated[
        Annotated[int, msgspec.Meta(ge=12_000, le=4_000_000)],
        _says("Characters of entries that are sent to it at once; more is read in parts"),
    ] = 48_000

    metrics_address: Annotated[
        str | None,
        _says("HOST:PORT where a role that is run alone gives its metrics; unset: the gateway's"),
    ] = None
    otlp_endpoint: Annotated[
        str | None,
        _says("Collector of traces by OTLP over HTTP, such as http://host:4318; unset: no traces"),
    ] = None
    otlp_ratio: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1)], _says("Share of the traces that are kept")
    ] = 1.0
    rebuild_changed_projections: Annotated[
        bool, _says("Rebuild a view by itself when its version has changed; else it waits")
    ] = False

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The trusted proxies as networks."""
        return tuple(ip_network(text, strict=False) for text in self.trusted_proxies)


class SettingsError(Exception):
    """One or more settings are wrong; ``problems`` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(["These settings cannot be used:", *problems]))
        self.problems = problems


class Field(msgspec.Struct, frozen=True):
    """One setting as it is documented and as it stands; secrets are masked in ``value``."""

    name: str
    variable: str
    type: str
    default: Any
    value: Any
    help: str


_TOGETHER = (
    ("operator_email", "operator_password"),
    ("github_client_id", "github_client_secret"),
    ("s3_access_key_id", "s3_secret_access_key"),
)
"""Settings that mean nothing without each other."""


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings; ``overrides`` win over the environment, and that over the file.

    Raises ``SettingsError`` with every fault found.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, value, where in _given(environ, problems):
        values[name] = value
        origin[name] = where
    values.update(overrides)
    checked: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name not in values:
            continue
        where = origin.get(field.name, PREFIX + field.name.upper())
        try:
            value = msgspec.convert(
                _prepared(field.name, values[field.name]),
                field.type,
                strict=False,
                dec_hook=_decode,
            )
        except msgspec.ValidationError as error:
            problems.append(f"  {where}: {_sentence(field.type, error)}")
            continue
        wrong = _CHECKS[field.name](value) if field.name in _CHECKS and value is not None else None
        if wrong is None:
            checked[field.name] = value
        else:
            problems.append(f"  {where}: {wrong}")
    problems.extend(_alone(values))
    if values.get("read_dsn") is not None and values.get("write_dsn") is None:
        problems.append(f"  {PREFIX}WRITE_DSN: must be set where {PREFIX}READ_DSN is")
    if problems:
        raise SettingsError(problems)
    settings = Settings(**checked)
    for api in ("write_api", "read_api"):
        if getattr(settings, f"{api}_address") and getattr(settings, f"{api}_workers") > 1:
            name = f"{PREFIX}{api.upper()}"
            problems.append(f"  {name}_WORKERS: must be 1 where {name}_ADDRESS is set")
    if problems:
        raise SettingsError(problems)
    return msgspec.structs.replace(settings, home=settings.home.expanduser().absolute())


def _alone(values: Mapping[str, Any]) -> Iterator[str]:
    """What is set without what it needs beside it."""
    for one, other in _TOGETHER:
        if (values.get(one) is None) != (values.get(other) is None):
            names = ", ".join(PREFIX + name.upper() for name in (one, other))
            yield f"  {names}: set both or neither"


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of a process that is to run under exactly these settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) or name[len(PREFIX) :].lower() not in _names()
    }
    for field in msgspec.structs.fields(Settings):
        value = getattr(settings, field.name)
        if value is None or (value == field.default and field.name != "home"):
            continue
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        kept[PREFIX + field.name.upper()] = text
    # What the file said is in the variables now; read again, it would come back for unset ones.
    kept[CONFIG_FILE] = os.devnull
    return kept


def inherited(*names: str) -> dict[str, str]:
    """These variables as they stand, or all of them if none is named: for other programs."""
    return {name: os.environ[name] for name in names or os.environ if name in os.environ}


def take_over(environment: Mapping[str, str]) -> None:
    """Go on with these variables alone, as a program that is started with them does."""
    os.environ.clear()
    os.environ.update(environment)


def describe(settings: Settings) -> list[Field]:
    """Every setting with its documentation and present value; secrets masked."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        meta = _meta(field.type)
        extra = meta.extra or {}
        value = getattr(settings, field.name)
        if value not in (None, ()) and extra["secret"]:
            value = MASK
        elif value is not None and extra["dsn"]:
            value = masked(value)
        rows.append(
            Field(
                name=field.name,
                variable=PREFIX + field.name.upper(),
                type=_type_name(field.type),
                default=_plain(field.default),
                value=_plain(value),
                help=meta.description or "",
            )
        )
    return rows


def masked(address: str) -> str:
    """The address without its password."""
    parts = urlsplit(address)
    if parts.password is None:
        return address
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{MASK}@{host}"))


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[str]:
    """``MINDSTREAM_*`` variables that no setting reads: often a slip."""
    environ = os.environ if environ is None else environ
    known = {*variables(), CONFIG_FILE}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def variables() -> list[str]:
    """The variables of all settings, in their order."""
    return [PREFIX + name.upper() for name in Settings.__struct_fields__]


def _names() -> frozenset[str]:
    return frozenset(Settings.__struct_fields__)


def _given(environ: Mapping[str, str], problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    """What the file and then the variables say: name, raw value, and where it stands."""
    named = environ.get(CONFIG_FILE)
    path = Path(named) if named else Path("mindstream.toml")
    if named or path.is_file():
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            problems.append(f"  {path}: {error}")
            document = {}
        for name, value in document.items():
            if name in _names():
                yield name, value, f"{path}: {name}"
            else:
                problems.append(f"  {path}: {name}: no such setting")
    for name in Settings.__struct_fields__:
        variable = PREFIX + name.upper()
        text = environ.get(variable, "")
        if text.strip():
            yield name, text if name == "operator_password" else text.strip(), variable


_LISTS = frozenset({"trusted_proxies", "cors_origins", "outgoing_allow", "master_key_previous"})
"""Settings that are given with commas."""


def _prepared(name: str, value: Any) -> Any:
    if name in _LISTS and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, str) and name in ("demo", "verify_email"):
        return {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(
            value.lower(), value.lower()
        )
    return value


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise TypeError(f"expected a path, got {type(value).__name__}")


def _sentence(annotation: Any, error: msgspec.ValidationError) -> str:
    """One rule for a person; msgspec's own text where a bound was broken, never the value."""
    text = str(error)
    bound = re.search(r"([<>]=) (-?\d+)", text)
    if bound is not None:
        return f"expected a number {bound[1]} {bound[2]}"
    return f"expected {_type_name(annotation)}"


def _key(text: str) -> str | None:
    try:
        if len(base64.b64decode(text, validate=True)) == 32:
            return None
    except (binascii.Error, ValueError):
        pass
    return "expected the base64 of 32 bytes"


def _networks(texts: tuple[str, ...]) -> str | None:
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError:
            return f"{text!r} is neither an address nor a CIDR"
    return None


def _origins(texts: tuple[str, ...]) -> str | None:
    for text in texts:
        if not _ORIGIN.fullmatch(text):
            return f"{text!r} is no origin such as https://app.example.com"
    return None


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


def _address(text: str) -> str | None:
    if text.startswith("unix:") and len(text) > len("unix:"):
        return None
    host, _, port = text.rpartition(":")
    if host and port.isdigit() and 0 < int(port) < 65536:
        return None
    return "expected unix:PATH or HOST:PORT"


def _host_and_port(text: str) -> str | None:
    return _address(text) if not text.startswith("unix:") else "expected HOST:PORT"


def _sender(text: str) -> str | None:
    local, _, domain = parseaddr(text)[1].rpartition("@")
    if local and domain and text.isprintable():
        return None
    return "expected an address, with or without a name: Name <user@host>"


def _file(path: Path) -> str | None:
    return None if path.is_file() else "no such file"


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "write_dsn": postgres,
    "read_dsn": postgres,
    "owner_dsn": postgres,
    "timeseries_dsn": postgres,
    "timeseries_owner_dsn": postgres,
    "redis_url": url("redis://", "rediss://", "unix://"),
    "search_url": url("http://", "https://"),
    "github_url": url("http://", "https://"),
    "model_url": url("http://", "https://"),
    "otlp_endpoint": url("http://", "https://"),
    "s3_endpoint_url": url("http://", "https://"),
    "public_url": url("http://", "https://"),
    "smtp_url": url("smtp://", "smtps://"),
    "mail_from": _sender,
    "master_key": _key,
    "master_key_previous": lambda texts: next(filter(None, map(_key, texts)), None),
    "jwt_private_key_file": _file,
    "trusted_proxies": _networks,
    "cors_origins": _origins,
    "outgoing_allow": _networks,
    "metrics_address": _host_and_port,
    "write_api_address": _address,
    "read_api_address": _address,
}
"""What the types alone cannot say: each answers with what is wrong, or None."""


def _meta(annotation: Any) -> msgspec.Meta:
    found: msgspec.Meta | None = None
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, msgspec.Meta) and item.description is not None:
            found = item
    if found is None:
        raise TypeError(f"a setting without documentation: {annotation}")
    return found


def _type_name(annotation: Any) -> str:
    inner = annotation.__origin__
    text = {
        Path: "a path",
        Path | None: "a path",
        str | None: "text",
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        tuple[str, ...]: "a list",
        LogLevel: "debug, info, warning or error",
        Literal["AES256", "aws:kms", "none"]: "AES256, aws:kms or none",
    }
    return text.get(inner, str(inner))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
