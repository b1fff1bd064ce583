"""What a handler says about itself: for the OpenAPI document, and for who may call it.

A handler carries it as ``opt={"operation": Operation(...)}``; ``openapi`` turns all of them into
the document, ``doors`` into the table that is enforced.
"""

from __future__ import annotations

from typing import Any

import msgspec

OPT = "operation"
"""The key in a handler's ``opt``."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the contract.

    ``body`` and ``response`` are types msgspec knows; ``response`` is what stands under ``data``
    (the whole body where ``enveloped`` is False), ``page`` says that it is a list of them with a
    cursor. ``statuses`` are the successes (the first is the usual one), ``problems`` the codes of
    errors beyond those that every call may answer. ``query`` is the struct given to
    ``validation.query``. ``other_media_types`` are those that a client may ask for in ``Accept`` in
    the place of the usual one. ``examples`` are bodies by name.

    Who may call it: anybody where ``open`` (found from the path where it is None); else whoever has
    ``permission``, or any principal where that is None. ``keys`` says whether an API key may; where
    None, it may what has a permission that it can be given. ``doors.Access`` enforces it.

    ``internal`` calls are one of our own pages' alone: they are in no document and may change.

    ``if_match``, ``idempotent`` and ``fresh``
    add the headers of the three conventions; where None, they follow from the method: PATCH and
    DELETE need If-Match, every write takes an Idempotency-Key, and a read takes a
    Consistency-Token only where it says so.
    """

    summary: str
    description: str = ""
    tags: tuple[str, ...] = ()
    body: Any = None
    body_media_type: str = "application/json"
    body_required: bool = True
    response: Any = None
    response_media_type: str = "application/json"
    other_media_types: tuple[str, ...] = ()
    enveloped: bool = True
    page: bool = False
    meta: Any = None
    statuses: tuple[int, ...] = (200,)
    problems: tuple[str, ...] = ()
    query: Any = None
    headers: tuple[tuple[str, str, bool], ...] = ()
    examples: dict[str, Any] = {}
    response_example: Any = None
    open: bool | None = None
    permission: str | None = None
    keys: bool | None = None
    if_match: bool | None = None
    idempotent: bool | None = None
    fresh: bool = False
    operation_id: str | None = None
    internal: bool = False
