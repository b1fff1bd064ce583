"""The streams of a person that a projection could not fold, or was told to leave out.

For those who must have all there is of somebody: what waits in quarantine, or was discarded, is in
no row, and in its stream all the same. Owns one query and no table.
"""

from __future__ import annotations

from uuid import UUID

from projections.reading import Query, Reader

# Whose stream it is stands in its first event; ids are never sealed.
LEFT_OUT = Query(
    "projections_left_out",
    """
    SELECT DISTINCT q.stream_id
    FROM projection_quarantine q
    JOIN events e ON e.stream_id = q.stream_id AND e.stream_version = 1
    WHERE q.projection = $1 AND position(convert_to($2, 'UTF8') IN e.data) > 0
    ORDER BY q.stream_id
    """,
    ("text", "text"),
)


async def left_out(reader: Reader, user_id: UUID, projection: str) -> list[str]:
    """Ids of this person's streams that ever were in that projection's quarantine."""
    rows = await reader.rows(LEFT_OUT, projection, str(user_id), user_id=user_id)
    return [row[0] for row in rows]
