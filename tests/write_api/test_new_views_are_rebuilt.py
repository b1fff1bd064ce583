"""Keys, tenants, flags and series: what the projector keeps up to date is what a rebuild makes."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import msgspec
import pytest

from adapters.event_store.source import PostgresSource
from bootstrap.settings import Settings
from bootstrap.wiring.keys import subject_keys_of
from projections.accounts.activity import Activities, ActivityCounts
from projections.accounts.keys import Keys
from projections.accounts.sharing import Sharing
from projections.accounts.tenants import Tenants
from projections.engine.rebuild import rebuild, verify
from projections.engine.view import RowView
from projections.flags.definitions import Definitions
from projections.journal.daily import Daily
from tests.support.apps import served
from tests.support.newcomers import logged_in, newcomer
from tests.support.servers import Database

pytestmark = pytest.mark.anyio


async def test_a_rebuild_equals_the_live_rows(settings: Settings, database: Database) -> None:
    changed = msgspec.structs.replace(settings, operator_email="o@localhost", operator_password="o")
    async with served(changed) as api:
        ops, ada = await logged_in(api, "o@localhost", "o"), await newcomer(api)
        ben = await newcomer(api)
        key = {"name": "x", "permissions": ["journal:read"], "allowed_origins": ["https://a.b"]}
        paths = [
            (await ada.call("POST", "/v1/api-keys", key)).headers["location"] for _ in range(3)
        ]
        await ada.call("PATCH", paths[0], {"state": "suspended"}, if_match="*")
        await ada.call("DELETE", paths[1], if_match="*")
        shared = (await ada.call("POST", "/v1/tenants", {"name": "x"})).headers["location"]
        await ada.call("POST", f"{shared}/members", {"user_id": ben.id})
        ben.token = ada.token
        await ben.call("PUT", f"{shared}/sharing", {"analytics": True})
        await ada.call("PATCH", shared, {"name": "y"}, if_match="*")
        await ops.call("PATCH", shared, {"state": "suspended"}, if_match="*")
        for name in ("a", "b"):
            await ops.call("PUT", f"/v1/ops/feature-flags/{name}", {"percentage": 5})
        await ops.call("DELETE", "/v1/ops/feature-flags/a", if_match="*")
        entry = {"date": "2026-01-05", "title": "t", "content": "a b", "tags": ["x"]}
        written = (await ada.call("POST", "/v1/journal/entries", entry)).headers["location"]
        await ada.call("PATCH", written, {"mood": "sad"}, if_match="*")
        await ada.call("DELETE", written, if_match="*")
        await ada.call("POST", f"{written}/restore", {})
        await ada.call("PATCH", "/v1/me", {"bio": "x", "theme": "dark"}, if_match="*")
        for path in ("/v1/api-keys", "/v1/tenants", "/v1/feature-flags"):
            for person in (ada, ops):  # each waits until the views have caught up with them
                assert (await person.get(path)).status_code == 200
        sources = functools.partial(
            PostgresSource, database.write_dsn, keys=subject_keys_of(settings)
        )
        views: tuple[tuple[RowView[Any], int], ...] = (
            (Keys(), 2), (Tenants(), 4), (Sharing(), 4), (Definitions(), 1), (Daily(), 1),
            # Three logins; a creation, an update, a deletion, a restoration; profile and settings.
            (Activities(), 9),
        )  # fmt: skip
        for view, rows in views:
            checked = await asyncio.to_thread(verify, database.write_dsn, sources, view)
            assert (checked.equal, checked.rows_live) == (True, rows), checked
            report = await asyncio.to_thread(rebuild, database.write_dsn, sources, view)
            assert (report.equal, report.swapped, report.rows) == (True, True, rows)
        # How many rows these are counted in depends on the quarters of an hour that they fell into.
        checked = await asyncio.to_thread(verify, database.write_dsn, sources, ActivityCounts())
        assert checked.equal, checked
        assert 8 <= checked.rows_live <= 9, checked
        # What serves them now is closed and complete as well.
        assert len((await ada.get("/v1/api-keys")).json()["data"]) == 2
        assert len((await ada.get("/v1/tenants")).json()["data"]) == 2
        assert len((await ops.get("/v1/feature-flags")).json()["data"]) == 1
        preflight = {"origin": "https://a.b", "access-control-request-method": "GET"}
        assert (await api.options("/v1/me", headers=preflight)).status_code == 204
