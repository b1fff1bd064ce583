"""Look for known vulnerabilities of what the runtime lock names.

Exit code 1 where there are some. Where the database of them (OSV) cannot be reached nothing is
known, which is said, and no reason to fail. What is known and accepted stands in ``ACCEPTED``, with
why.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ACCEPTED: dict[str, str] = {}
LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"


def found_in(report: dict[str, Any]) -> list[str]:
    """A line for each vulnerability of a report of pip-audit's that is not accepted."""
    lines = []
    for dependency in report["dependencies"]:
        for one in dependency.get("vulns", ()):
            if not {one["id"], *one.get("aliases", ())} & ACCEPTED.keys():
                mended = ", ".join(one["fix_versions"]) or "no version yet"
                name = f"{dependency['name']} {dependency['version']}"
                lines.append(f"{name}: {one['id']}, mended by {mended}")
    return lines


def main() -> int:
    """Ask and tell."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = "--disable-pip --require-hashes --progress-spinner off --timeout 10"
        asked = subprocess.run(
            [
                str(Path(sys.executable).parent / "pip-audit"),
                *options.split(),
                *("-s", "osv", "-f", "json"),
                *("-r", str(LOCK), "-o", str(report)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            found = found_in(json.loads(report.read_bytes()))
        except (OSError, ValueError):
            said = asked.stderr.strip().splitlines() or ["no answer"]
            sys.stdout.write(f"Dependency audit skipped: {said[-1][:300]}\n")
            return 0
    for line in found:
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"Dependency audit: {len(found)} known vulnerabilities\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
