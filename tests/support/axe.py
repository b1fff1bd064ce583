"""axe-core, which finds what keeps people from using a page; fetched from npm once.

Owns where it comes from and how it is run. It lies in the user's cache, outside the checkout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.support.chromium import CACHE, NotToBeHad
from tests.support.driven import Page

VERSION = "4.11.0"
_RUN = """axe.run().then(found => found.violations
    .filter(each => ["serious", "critical"].includes(each.impact))
    .map(each => [each.id, each.nodes.slice(0, 3).map(node => node.html.slice(0, 200))]))"""


def axe() -> str:
    """The script's text.

    Raises:
        NotToBeHad: there is no npm, or it cannot fetch the package.
    """
    kept = CACHE / f"axe-{VERSION}.js"
    if not kept.exists():
        if shutil.which("npm") is None:
            raise NotToBeHad("no npm on PATH that could fetch axe-core")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            done = subprocess.run(
                ["npm", "pack", "--silent", f"axe-core@{VERSION}"],
                cwd=name, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            if done.returncode:
                raise NotToBeHad("npm cannot fetch axe-core")
            with tarfile.open(Path(name) / f"axe-core-{VERSION}.tgz") as package:
                script = package.extractfile("package/axe.min.js")
                assert script is not None
                made = Path(name) / "axe.js"
                made.write_bytes(script.read())
            made.rename(kept)
    return kept.read_text()


async def serious(page: Page, script: str) -> list[Any]:
    """What is wrong on the page as it is now: rules, and some of the elements that break them."""
    # The page's policy lets no foreign script in; the browser's own context does.
    tree = await page.call("Page.getFrameTree")
    world = await page.call("Page.createIsolatedWorld", frameId=tree["frameTree"]["frame"]["id"])
    done = await page.call(
        "Runtime.evaluate",
        expression=f"{script};{_RUN}.then(JSON.stringify)",
        contextId=world["executionContextId"],
        awaitPromise=True,
        returnByValue=True,
    )
    assert "exceptionDetails" not in done, done
    found: list[Any] = json.loads(done["result"]["value"])
    return found
