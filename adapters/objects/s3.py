"""Objects in a bucket of S3, and links that it signs.

Owns the names of objects there::

    files/<person>/<entry>/<attachment>/<object>    what is kept
    uploads/<person>/<entry>/<attachment>           where a client's upload goes

A client sends an upload to S3 itself, by a link that fixes its type and length: S3 refuses another.
Such a link stays good after the upload was completed, so what is kept is a copy that no link can
write. Nothing here is public. Bytes are encrypted by S3, and not with the person's key: an erasure
deletes them, versions that the bucket keeps included.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import botocore.session
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from adapters.http.attachment_links import UploadLink, sent_with
from adapters.http.files import disposition
from adapters.objects.bucket import Bucket
from commands.journal_attachments import ObjectGone, ObjectsUnavailable, Stored
from domain.journal.attachment import ObjectName, Upload

FILES, UPLOADS = "files/", "uploads/"
PIECE = 256 * 1024
AT_ONCE = 1000
"""Objects that one call deletes."""
_GONE = frozenset(("404", "NoSuchKey", "NotFound", "416", "InvalidRange"))


def _options(bucket: Bucket) -> dict[str, Any]:
    """What a client is made with."""
    own = bucket.endpoint_url is not None
    return {
        "region_name": bucket.region,
        "endpoint_url": bucket.endpoint_url,
        "aws_access_key_id": bucket.access_key_id,
        "aws_secret_access_key": bucket.secret_access_key,
        "config": Config(
            signature_version="s3v4",
            # Servers other than AWS's seldom have a name for each bucket.
            s3={"addressing_style": "path" if own else "auto"},
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 3, "mode": "standard"},
            # Checksums beyond TLS's and the signature's: not every server knows them.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    }


def _encrypted(bucket: Bucket) -> dict[str, str]:
    """How S3 is asked to encrypt."""
    return {} if bucket.encryption is None else {"ServerSideEncryption": bucket.encryption}


class S3Addresses:
    """``adapters.http.attachment_links.Addressing``: signing needs no network."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        session: Any = botocore.session.get_session()
        self._client = session.create_client("s3", **_options(bucket))

    def upload(self, base: str, upload: Upload, expires_at: datetime) -> UploadLink:
        """A PUT to S3 of exactly this type and length."""
        headers = sent_with(upload.declared)
        fixed: dict[str, Any] = {
            "ContentType": upload.declared.content_type,
            "ContentLength": upload.declared.size_bytes,
            **_encrypted(self._bucket),
        }
        if self._bucket.encryption is not None:
            headers["x-amz-server-side-encryption"] = self._bucket.encryption
        url = self._sign("put_object", _upload_key(upload), expires_at, **fixed)
        return UploadLink("PUT", url, headers, expires_at)

    def download(
        self, base: str, name: ObjectName, filename: str, content_type: str, expires_at: datetime
    ) -> str:
        """A GET from S3, to be saved under this name."""
        return self._sign(
            "get_object",
            FILES + name.key,
            expires_at,
            ResponseContentDisposition=disposition(filename).decode(),
            ResponseContentType=content_type,
            ResponseCacheControl="private, no-cache",
        )

    def _sign(self, call: str, key: str, expires_at: datetime, **fixed: Any) -> str:
        seconds = max(1, round((expires_at - datetime.now(UTC)).total_seconds()))
        url: str = self._client.generate_presigned_url(
            call, {"Bucket": self._bucket.name, "Key": key, **fixed}, ExpiresIn=seconds
        )
        return url


class S3Objects:
    """``commands.journal_attachments.Objects`` on S3; works while ``opened``."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._client: Any = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected as long as the context lasts; nothing is asked of S3 yet."""
        session: Any = get_session()
        async with session.create_client("s3", **_options(self._bucket)) as client:
            self._client = client
            yield

    async def _call(self, name: str, **values: Any) -> Any:
        """Call S3.

        Raises:
            ObjectGone: there is no such object.
            ObjectsUnavailable: anything else that is wrong.
        """
        try:
            return await getattr(self._client, name)(Bucket=self._bucket.name, **values)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if code in _GONE:
                raise ObjectGone from None
            raise ObjectsUnavailable(f"{name}: {code}") from None
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise ObjectsUnavailable(f"{name}: {type(error).__name__}") from None

    async def probe(self) -> None:
        """Write a few bytes, and delete them again.

        Raises:
            ObjectsUnavailable: one of both cannot be done.
        """
        key = f"probes/{uuid4()}"
        await self._put(key, b"probe")
        await self._call("delete_object", Key=key)

    async def receive(self, upload: Upload, pieces: AsyncIterator[bytes]) -> None:
        """For clients that send here nevertheless; whole in memory, since S3 wants the length."""
        body = b"".join([piece async for piece in pieces])
        await self._put(_upload_key(upload), body)

    async def put(self, name: ObjectName, data: bytes) -> None:
        """One object."""
        await self._put(FILES + name.key, data)

    async def _put(self, key: str, body: bytes) -> None:
        await self._call("put_object", Key=key, Body=body, **_encrypted(self._bucket))

    async def keep(self, upload: Upload, name: ObjectName) -> bool:
        """Copy it within S3."""
        source = {"Bucket": self._bucket.name, "Key": _upload_key(upload)}
        try:
            await self._call(
                "copy_object", Key=FILES + name.key, CopySource=source, **_encrypted(self._bucket)
            )
        except ObjectGone:
            return False
        return True

    async def size(self, name: ObjectName) -> int | None:
        """From the object's head."""
        try:
            return int((await self._call("head_object", Key=FILES + name.key))["ContentLength"])
        except ObjectGone:
            return None

    async def read(
        self, name: ObjectName, first: int = 0, count: int | None = None
    ) -> AsyncIterator[bytes]:
        """As it comes from S3."""
        if count == 0:
            return
        end = "" if count is None else str(first + count - 1)
        part = {"Range": f"bytes={first}-{end}"} if first or count is not None else {}
        answer = await self._call("get_object", Key=FILES + name.key, **part)
        async with answer["Body"] as body:
            try:
                async for piece in body.iter_chunks(PIECE):
                    yield piece
            except (BotoCoreError, OSError, TimeoutError) as error:
                raise ObjectsUnavailable(f"read: {type(error).__name__}") from None

    async def delete(self, *names: ObjectName) -> None:
        """Delete them, earlier versions too."""
        for name in names:
            await self._clear(FILES + name.key, exact=True)

    async def drop(self, upload: Upload) -> None:
        """Delete what was uploaded."""
        await self._clear(_upload_key(upload), exact=True)

    async def drop_uploads(self, before: datetime) -> int:
        """By the time at which each was complete."""
        count = 0
        async for key, since in self._list(UPLOADS):
            if since < before:
                await self._clear(key, exact=True)
                count += 1
        return count

    async def erase(self, user_id: UUID) -> int:
        """Delete what lies under the person's id."""
        prefixes = (f"{FILES}{user_id}/", f"{UPLOADS}{user_id}/")
        return sum([await self._clear(prefix, exact=False) for prefix in prefixes])

    async def all(self) -> AsyncIterator[Stored]:
        """In the order of the names."""
        async for key, since in self._list(FILES):
            try:
                ids = [UUID(each) for each in key.removeprefix(FILES).split("/")]
                yield Stored(ObjectName(*ids), since)
            except (ValueError, TypeError):
                continue  # not ours

    async def _list(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        more: dict[str, str] = {}
        while True:
            found = await self._call("list_objects_v2", Prefix=prefix, **more)
            for each in found.get("Contents", ()):
                yield each["Key"], each["LastModified"]
            if not found.get("IsTruncated"):
                return
            more = {"ContinuationToken": found["NextContinuationToken"]}

    async def _clear(self, prefix: str, *, exact: bool) -> int:
        """Delete every version of what begins so, or is called so; how many objects there were."""
        keys: set[str] = set()
        more: dict[str, str] = {}
        while True:
            found = await self._call("list_object_versions", Prefix=prefix, **more)
            versions = [
                {"Key": each["Key"], "VersionId": each["VersionId"]}
                for each in (*found.get("Versions", ()), *found.get("DeleteMarkers", ()))
                if each["Key"] == prefix or not exact
            ]
            keys.update(each["Key"] for each in found.get("Versions", ()) if not exact)
            for at in range(0, len(versions), AT_ONCE):
                gone = {"Objects": versions[at : at + AT_ONCE], "Quiet": True}
                answer = await self._call("delete_objects", Delete=gone)
                if answer.get("Errors"):
                    raise ObjectsUnavailable("delete_objects: " + answer["Errors"][0]["Code"])
            if not found.get("IsTruncated"):
                return len(keys)
            more = {
                "KeyMarker": found["NextKeyMarker"],
                "VersionIdMarker": found["NextVersionIdMarker"],
            }
            await asyncio.sleep(0)


def _upload_key(upload: Upload) -> str:
    return f"{UPLOADS}{upload.user_id}/{upload.entry_id}/{upload.attachment_id}"
