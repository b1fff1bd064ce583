"""Which bucket of S3 is meant, and as whom: what is known before any of AWS's code is loaded."""

from __future__ import annotations

import msgspec


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Where the objects lie; without keys they are found as AWS's libraries find them.

    ``encryption`` is asked of S3 for each object, None for the bucket's own.
    """

    name: str
    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = None
    encryption: str | None = "AES256"
