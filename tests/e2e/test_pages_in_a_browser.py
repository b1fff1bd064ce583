"""The web pages in a real Chromium: their scripts run, and the console stays empty."""

from __future__ import annotations

import html

import httpx
import pytest

from tests.support.chromium import Chromium, NotToBeHad, chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # it may be fetched first


@pytest.fixture(scope="module")
def browser() -> Chromium:
    try:
        return chromium()
    except NotToBeHad as reason:
        pytest.skip(str(reason))


def test_the_documentation_shows_every_call(browser: Chromium, anonymous: httpx.Client) -> None:
    document = anonymous.get("/schema/openapi.json").json()
    page, console = browser.open(f"{anonymous.base_url}/docs")
    assert console == []
    shown = html.unescape(page)
    for path, methods in document["paths"].items():
        assert path in shown
        for operation in methods.values():
            assert operation["summary"] in shown


@pytest.mark.parametrize(
    ("path", "title"),
    [("verify-email", "Confirm your address"), ("reset-password", "Set a new password")],
)
def test_the_pages_that_letters_lead_to(
    browser: Chromium, anonymous: httpx.Client, path: str, title: str
) -> None:
    page, console = browser.open(f"{anonymous.base_url}/account/{path}#token=x")
    assert console == []
    assert f'<h1 id="title">{title}</h1>' in page


@pytest.mark.parametrize("path", ["/problems", "/problems/not-found"])
def test_the_pages_of_problems(browser: Chromium, anonymous: httpx.Client, path: str) -> None:
    page, console = browser.open(f"{anonymous.base_url}{path}")
    assert console == []
    assert "NOT_FOUND" in page
