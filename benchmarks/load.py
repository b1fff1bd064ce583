"""HTTP load: ``wrk`` with one thread and 64 connections, or our own where it cannot be had.

wrk comes from the path or, without root, from Debian's package unpacked into the cache folder. Owns
getting it, the script that makes its requests, and what it reports; ``generator`` is the stand-in.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bootstrap.settings import inherited

CONNECTIONS = 64
MARK = "LOAD_RESULT "

SCRIPT = """
-- Requests of one plan in turn. A plan of days makes each request's body a day's that is new.
local tokens, etag, targets = {%(tokens)s}, %(etag)s, {}
local next_number, users = %(first)d, %(users)d
local head = " HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n"
local before, after = %(before)s, %(after)s

for line in io.lines(%(targets)s) do
  local user, path = line:match("^(%%d+) (.*)$")
  targets[#targets + 1] = {tonumber(user), path}
end

local function date(day)  -- the day's number from 0001-01-01, as civil date
  local z = day + 306
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
    - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format("%%04d-%%02d-%%02d", year, month, doy - math.floor((153 * mp + 2) / 5) + 1)
end

local function get()
  local target = targets[next_number %% #targets + 1]
  next_number = next_number + 1
  local token = tokens[target[1] + 1]
  return "GET " .. target[2] .. head
    .. (token and "Authorization: Bearer " .. token .. "\\r\\n" or "")
    .. (etag and "If-None-Match: " .. etag .. "\\r\\n" or "") .. "\\r\\n"
end

local function post()
  local body = before .. date(math.floor(next_number / users)) .. after
  local token = tokens[next_number %% users + 1]
  next_number = next_number + 1
  return "POST " .. targets[1][2] .. head .. "Authorization: Bearer " .. token ..
    "\\r\\nContent-Type: application/json\\r\\nContent-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end

request = before and post or get

done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(%(report)s, summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
_REPORT = (
    MARK + '{"requests":%d,"seconds":%f,"bytes":%d,"broken":%d,"refused":%d,'
    '"p50_ms":%f,"p99_ms":%f}\n'
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask: ``targets`` in turn, each as a person's number and a path.

    With ``template``, the request is a POST of it to the first target, the person changing with
    each request and ``{date}`` being the day after that person's last; ``first`` counts requests
    over all runs. ``etag`` is sent as ``If-None-Match``.
    """

    port: int
    tokens: tuple[str, ...] = ()
    targets: Sequence[tuple[int, str]]
    template: str | None = None
    first: int = 0
    etag: str | None = None
    seconds: float = 4.0
    connections: int = CONNECTIONS


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: ``refused`` are answers with a status of 400 or more."""

    requests: int
    seconds: float
    bytes: int
    broken: int
    refused: int
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


class LoadFailed(Exception):
    """Requests were refused or broken, or the load could not be made."""


def run(plan: Plan) -> Result:
    """Make the load from another process.

    Raises:
        LoadFailed: not every request was answered as it should be.
    """
    found = wrk()
    with tempfile.TemporaryDirectory(prefix="ms-load-") as folder:
        result = _generated(plan, Path(folder)) if found is None else _wrk(found, plan, folder)
    if result.broken or result.refused or not result.requests:
        raise LoadFailed(f"a run of load was not answered as it should be: {result}")
    return result


def maker() -> str:
    """What makes the load, in words for the report."""
    found = wrk()
    return "the benchmark's own generator (slower than wrk)" if found is None else found.words


class Wrk(msgspec.Struct, frozen=True):
    """A wrk that runs: the program and where its libraries are."""

    program: str
    libraries: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What it needs to find its libraries."""
        return {} if self.libraries is None else {"LD_LIBRARY_PATH": self.libraries}

    @property
    def words(self) -> str:
        """Which one it is."""
        return f"wrk ({self.program}), one thread, {CONNECTIONS} connections"


@functools.cache
def wrk() -> Wrk | None:
    """A wrk that runs on this machine, fetched if need be; None where it cannot be had."""
    program = shutil.which("wrk")
    if program is not None:
        return Wrk(program)
    kept = inherited("XDG_CACHE_HOME").get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(kept) / "mindstream" / "wrk"
    return _unpacked(cache) or (_unpacked(cache) if _fetch(cache) else None)


def _unpacked(folder: Path) -> Wrk | None:
    program = folder / "usr" / "bin" / "wrk"
    if not program.exists():
        return None
    libraries = {str(path.parent) for path in folder.rglob("*.so*")}
    found = Wrk(str(program), ":".join(sorted(libraries)))
    done = subprocess.run([program, "-v"], env=found.environment, capture_output=True, check=False)
    return found if b"wrk" in done.stdout + done.stderr else None


def _fetch(folder: Path) -> bool:
    """Unpack Debian's wrk and the libraries that it names, as any user."""
    if any(shutil.which(tool) is None for tool in ("apt-get", "apt-cache", "dpkg-deb")):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    relations = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    asked = ["apt-cache", "depends", "--recurse", *(f"--no-{one}" for one in relations), "wrk"]
    listed = _said(asked, folder)
    # Lines that begin a package stand at the margin. The C library is the machine's own.
    packages = [
        line
        for line in listed.splitlines()
        if line == "wrk" or line.startswith(("libluajit", "libssl"))
    ]
    if "wrk" not in packages:
        return False
    _said(["apt-get", "download", *packages], folder)
    for package in folder.glob("*.deb"):
        _said(["dpkg-deb", "-x", str(package), str(folder)], folder)
        package.unlink()
    return _unpacked(folder) is not None


def _said(argv: list[str], folder: Path) -> str:
    """What a program prints; nothing if it fails."""
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, timeout=120, check=True
        )
    except subprocess.SubprocessError:
        return ""
    return done.stdout


def _wrk(found: Wrk, plan: Plan, folder: str) -> Result:
    script, targets = Path(folder) / "plan.lua", Path(folder) / "targets"
    targets.write_text("".join(f"{user} {path}\n" for user, path in plan.targets), encoding="utf-8")
    before, _, after = (plan.template or "").partition("{date}")
    script.write_text(
        SCRIPT
        % {
            "tokens": ", ".join(map(_lua, plan.tokens)),
            "etag": _lua(plan.etag),
            "first": plan.first,
            "users": max(1, len(plan.tokens)),
            "targets": _lua(str(targets)),
            "before": _lua(before if plan.template else None),
            "after": _lua(after),
            "report": _lua(_REPORT),
        },
        encoding="utf-8",
    )
    argv = [found.program, "-t1", f"-c{plan.connections}", f"-d{plan.seconds:.0f}s"]
    argv += ["--timeout", "10s", "-s", str(script), f"http://127.0.0.1:{plan.port}/"]
    return _result(argv, plan.seconds, found.environment)


def _generated(plan: Plan, folder: Path) -> Result:
    file = folder / "plan.json"
    file.write_bytes(msgspec.json.encode(plan))
    return _result([sys.executable, "-m", "benchmarks.generator", str(file)], plan.seconds, {})


def _result(argv: list[str], seconds: float, environment: dict[str, str]) -> Result:
    done = subprocess.run(
        argv,
        env={**inherited(), **environment},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return msgspec.json.decode(line.removeprefix(MARK), type=Result)
    raise LoadFailed(f"{argv[0]} said nothing of use:\n{done.stdout}\n{done.stderr}")


def _lua(text: str | None) -> str:
    """A text as a Lua literal."""
    if text is None:
        return "nil"
    # LuaJIT takes \ddd for any byte; so nothing in the text can end the literal.
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'
