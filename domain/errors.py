"""Refusals that every context shares.

The tree::

    DomainError               a command was understood and refused
    ├── NotFound              no such thing, or not the caller's
    ├── Forbidden             known, but not allowed to this caller
    └── Stale                 the caller decided on an older version

Each context adds its own beside its aggregate. Errors carry data and know no HTTP; the table in
``adapters/http/errors.py``, and those of the contexts in ``write_api/``, map them. Faults in an
input are not errors of the domain but ``domain.faults.Invalid``.
"""

from __future__ import annotations


class DomainError(Exception):
    """A command was understood and refused."""


class NotFound(DomainError):
    """There is no such thing for this caller; absent and foreign look alike."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} not found")
        self.what = what


class Forbidden(DomainError):
    """The caller is known and may not do this."""


class Stale(DomainError):
    """The caller's version is not the current one."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"expected version {expected}, found {actual}")
        self.expected = expected
        self.actual = actual
