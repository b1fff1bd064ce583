"""The files of attachments: where their bytes lie, and who signs links to them.

S3 where a bucket is set, else a folder under ``MINDSTREAM_HOME``, whose links lead to our own APIs.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.event_store.subject_keys import SubjectKeys
from adapters.http.attachment_links import AttachmentLinks, OwnAddresses
from adapters.http.links import Base, Links
from adapters.objects.bucket import Bucket
from adapters.objects.folder import FolderObjects
from adapters.postgres.pipeline import Pipeline
from adapters.sealing import Sealer
from bootstrap.places import Places
from bootstrap.settings import Settings
from commands.journal_attachments import Objects

LINKS = "links"
"""The purpose of the secret that signs links; all processes have it from the master key."""


class Openable(Objects, Protocol):
    """Objects that are connected as long as a context lasts."""

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Connected as long as the context lasts."""
        ...


class Files(msgspec.Struct, frozen=True):
    """What reads and writes bytes, and what makes and checks links to them."""

    objects: Openable
    links: AttachmentLinks
    signed: Links


def files_of(settings: Settings, sealer: Sealer, keys: SubjectKeys, pipeline: Pipeline) -> Files:
    """The files as every role has them; ``pipeline`` finds the keys of people."""
    signed = Links(sealer.secret(LINKS))
    base = Base(settings.public_url, f"http://127.0.0.1:{settings.port}")
    if settings.s3_bucket is not None:
        # AWS's library takes a while to import, and only whoever has a bucket needs it.
        from adapters.objects.s3 import S3Addresses, S3Objects  # noqa: PLC0415

        bucket = bucket_of(settings, settings.s3_bucket)
        links = AttachmentLinks(S3Addresses(bucket), base, settings.object_url_ttl_seconds)
        return Files(S3Objects(bucket), links, signed)

    async def cipher(user_id: UUID) -> AESGCM | None:
        await keys.load(pipeline, [user_id.bytes])
        return keys.ciphers.get(user_id.bytes)

    links = AttachmentLinks(OwnAddresses(signed), base, settings.object_url_ttl_seconds)
    return Files(FolderObjects(Places(settings.home).objects, cipher), links, signed)


def bucket_of(settings: Settings, name: str) -> Bucket:
    """The bucket that is set."""
    return Bucket(
        name=name,
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        encryption=None if settings.s3_encryption == "none" else settings.s3_encryption,
    )
