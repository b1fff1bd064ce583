"""Where a person is logged in, as ``/v1/me/logins`` shows it.

No projection keeps this: the rows lie beside the refresh tokens in the write database, where each
refresh is seen, which is no event. So they are true at once, and no rebuild can lose them. The SQL
view ``accounts_open_logins`` shows a person their own open logins, whatever is asked of it.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from projections.reading import Query, Reader

PAGE = Query(
    "accounts_open_logins_page",
    """
    SELECT login_id, address, agent, started_at, last_seen, expires_at FROM accounts_open_logins
    WHERE user_id = $1 AND ($2 IS NULL OR login_id < $2)
    ORDER BY login_id DESC LIMIT $3
    """,
    ("uuid", "uuid", "int8"),
)


class LoginDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A login as the API shows it to its person; ``current`` is the one that asks.

    ``last_seen`` is when it began or was last refreshed; unless refreshed it ends at
    ``expires_at``.
    """

    id: UUID
    current: bool
    address: str | None
    agent: str | None
    created_at: datetime
    last_seen: datetime
    expires_at: datetime


async def page(
    reader: Reader, user_id: UUID, *, current: UUID | None, after: UUID | None, limit: int
) -> tuple[list[LoginDocument], UUID | None]:
    """Up to ``limit`` open logins begun before ``after``, newest first, and where to go on."""
    rows = await reader.rows(PAGE, user_id, after, limit + 1, user_id=user_id)
    found = [
        LoginDocument(
            id=login_id,
            current=login_id == current,
            address=address,
            agent=agent,
            created_at=started_at,
            last_seen=last_seen,
            expires_at=expires_at,
        )
        for login_id, address, agent, started_at, last_seen, expires_at in rows[:limit]
    ]
    return found, found[-1].id if len(rows) > limit else None
