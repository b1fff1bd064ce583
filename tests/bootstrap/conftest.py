from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.upped import Up, with_fake_roles


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """A running `up` with stand-in roles, for tests that leave it running."""
    with with_fake_roles() as started:
        started.start()
        yield started
