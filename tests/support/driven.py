"""A Chromium that stays open and does what a test says: goes, clicks, types, is photographed.

Owns the talk with it (the DevTools protocol over a WebSocket). What is waited for is a condition on
the page.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.chromium import FLAGS, Chromium

_OWN_TIME = "--virtual-time-budget"
DOOR = "!document.querySelector('#door').hidden"
"""A page of ours asks who one is."""
PATIENCE = 20.0
"""Seconds for a condition."""


class Page:
    """One tab; ``complaints`` are errors that it wrote to its console."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol and its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            said = json.loads(await self._socket.receive_str(timeout=30))
            if said.get("method") == "Log.entryAdded":
                entry = said["params"]["entry"]
                # A status of 4xx is an answer, and logged all the same.
                if entry["level"] == "error" and entry["source"] != "network":
                    self.complaints.append(entry["text"])
            elif said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said.get("id") == number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    async def js(self, expression: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        done = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression is true; what it looks at may not be there yet."""
        tried = f"(() => {{ try {{ return Boolean({condition}) }} catch {{ return false }} }})()"
        async with asyncio.timeout(PATIENCE):
            while not await self.js(tried):  # noqa: ASYNC110  the page tells nobody
                await asyncio.sleep(0.05)

    async def go(self, url: str, condition: str = "true") -> None:
        """Load a page and wait until it is as expected."""
        await self.call("Page.navigate", url=url)
        there = f"location.href.startsWith({json.dumps(url)}) && document.readyState == 'complete'"
        await self.until(f"{there} && ({condition})")

    async def press(self, key: str, code: int = 0, text: str = "") -> None:
        """A key goes down and up, as a person's would."""
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra,
            )  # fmt: skip

    async def type(self, text: str) -> None:
        """Type where the focus is."""
        await self.call("Input.insertText", text=text)

    async def look(self, width: int, *, dark: bool) -> None:
        """Be a window of this width, light or dark."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900 if width > 700 else 844, deviceScaleFactor=1,
            mobile=width < 700,
        )  # fmt: skip
        scheme = "dark" if dark else "light"
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            # Colours that still change would be judged half way.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def shot(self, file: Path) -> None:
        """A picture of the whole page as PNG."""
        made = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(made["data"]))


async def log_in(page: Page, email: str, password: str) -> None:
    """At the door of a page of ours, by the keyboard alone."""
    await page.until("document.activeElement.id == 'email'")
    await page.type(email)
    await page.press("Tab", 9)
    await page.type(password)
    await page.press("Enter", 13, "\r")


@asynccontextmanager
async def driven(chromium: Chromium) -> AsyncIterator[Page]:
    """A browser with one empty page; it is gone with the context."""
    with tempfile.TemporaryDirectory(prefix="ms-driven-", ignore_cleanup_errors=True) as profile:
        flags = [flag for flag in FLAGS if not flag.startswith(_OWN_TIME)]
        process = await asyncio.create_subprocess_exec(
            chromium.executable, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}",
            "about:blank",
            env={**chromium.env, "HOME": profile},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            where = await _address(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{where}/json/list") as listed:
                    tabs = await listed.json()
                tab = next(each for each in tabs if each["type"] == "page")
                url = tab["webSocketDebuggerUrl"]
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    yield page
        finally:
            process.terminate()
            await process.wait()


async def _address(file: Path) -> str:
    """Where it listens, once it has written that down."""
    async with asyncio.timeout(60):
        while "\n" not in (written := await asyncio.to_thread(_content, file)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return "127.0.0.1:" + written.split("\n")[0]


def _content(file: Path) -> str:
    return file.read_text() if file.exists() else ""
