"""One real ``mindstream up`` for all end-to-end tests, and people who use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.chromium import NotToBeHad, chromium
from tests.support.driven import Page, driven
from tests.support.people import People, Person, people_at
from tests.support.upped import Up, prepared

OPERATOR = ("operator@example.org", "an operator's long password 9")
WITHOUT_LIMITS = {
    "MINDSTREAM_DEMO": "0",
    "MINDSTREAM_OPERATOR_EMAIL": OPERATOR[0],
    "MINDSTREAM_OPERATOR_PASSWORD": OPERATOR[1],
    "MINDSTREAM_RATE_LIMIT_PER_MINUTE": "10000000",
}


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """The system; in the end it must stop cleanly and leave nothing behind."""
    with prepared(**WITHOUT_LIMITS) as running:
        running.start()
        yield running
        assert running.stop() == 0
        assert running.left() == []


@pytest.fixture(scope="session")
def people(up: Up) -> Iterator[People]:
    with people_at(up.gateway) as found:
        yield found


@pytest.fixture(scope="session")
def rough() -> Iterator[Up]:
    """Another system, which is treated badly, and stops cleanly all the same."""
    with prepared(**WITHOUT_LIMITS) as running:
        running.start()
        yield running
        assert running.stop() == 0
        assert running.left() == []


@pytest.fixture(scope="session")
def crowd(rough: Up) -> Iterator[People]:
    """People who use that one."""
    with people_at(rough.gateway) as found:
        yield found


@pytest.fixture(scope="session")
def anonymous(people: People) -> httpx.Client:
    """A client without a token."""
    return people.anonymous


@pytest.fixture
def person(people: People) -> Person:
    """Somebody new for this test."""
    return people.new()


@pytest.fixture
async def tab() -> AsyncIterator[Page]:
    """A browser, wide and light."""
    try:
        browser = chromium()
    except NotToBeHad as reason:
        pytest.skip(str(reason))
    async with driven(browser) as found:
        await found.look(1440, dark=False)
        yield found
