"""Pages of the documentation that are followed word by word.

Owns how the commands of a page are found and run: what stands in ``sh`` blocks below a heading, as
a script that ends at the first failure, with the ``mindstream`` of this environment.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
_PIECE = re.compile(r"^```(sh|python|sql)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: str, heading: str) -> list[str]:
    """The ``sh`` blocks of a page below a heading, up to the next one of its level."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page} has no {heading}"
    blocks = _BLOCK.findall(re.split(r"^## ", rest, flags=re.MULTILINE)[0])
    assert blocks, f"{page} has no commands under {heading}"
    return blocks


def pieces(page: str) -> list[tuple[Path | None, str]]:
    """Everything that a page has to be pasted, in order: a file by the path in its first line, or
    a script (no path)."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    found: list[tuple[Path | None, str]] = []
    for language, block in _PIECE.findall(text.partition("\n## What else")[0]):
        if language == "sh":
            found.append((None, block))
        else:
            first, _, rest = block.partition("\n")
            found.append((Path(first.lstrip("#- ")), rest))
    return found


def follow(script: str, env: Mapping[str, str], folder: Path, *, seconds: float = 120) -> str:
    """Run a script; what it said. What it left running keeps running."""
    said = folder / "said.txt"
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    with said.open("wb") as output:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={**env, "PATH": path},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    text = said.read_text(errors="replace")
    assert done.returncode == 0, f"{script}\n{text}"
    return text
