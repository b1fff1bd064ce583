"""The file of an export, by a link that its owner was given.

Owns the link: it is made whenever the owner looks at the operation, and lies in no table, so that
neither operators nor whoever reads the tables have it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from adapters.http.handlers import get
from adapters.http.links import Links
from adapters.http.operation import Operation as Described
from adapters.http.problems import Problem
from adapters.http.responses import Answer, Download
from domain.export import EXPORT, ExportFile
from domain.operation import Operation

AnyRequest = Request[Any, Any, Any]

MEDIA_TYPE = "application/zip"


class Files(Protocol):
    """Where the files lie; ``adapters.exports.PostgresExports`` is it."""

    async def ready(self, export_id: UUID) -> ExportFile | None:
        """The file, if it is whole and has not expired."""
        ...

    def pieces(self, file: ExportFile) -> AsyncIterator[bytes]:
        """The file, piece by piece."""
        ...


class LinkQuery(msgspec.Struct, frozen=True):
    """What makes a path a link; it is checked as a whole."""

    expires: int
    signature: str


def path_of(export_id: UUID) -> str:
    """Where the file of an export is."""
    return f"/v1/exports/{export_id}"


def with_link(operation: Operation, links: Links) -> Operation:
    """The operation with the link to its file, if it is an export that has one."""
    if operation.kind != EXPORT or operation.state != "succeeded":
        return operation
    result = msgspec.json.decode(operation.result)
    expires_at = datetime.fromisoformat(result["expires_at"])
    result = {"download_url": links.sign(path_of(operation.id), expires_at), **result}
    return msgspec.structs.replace(operation, result=result)


def routes(files: Files, links: Links) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get(
        "/v1/exports/{export_id:str}",
        opt={
            "operation": Described(
                summary="Download an export",
                description="By the `download_url` of the export's operation, which works for 24"
                " hours and needs no login.",
                tags=("Accounts",),
                response_media_type=MEDIA_TYPE,
                enveloped=False,
                query=LinkQuery,
                problems=("LINK_REFUSED", "NOT_FOUND"),
                open=True,
                operation_id="download_export",
            )
        },
    )
    async def download_export(request: AnyRequest) -> Answer:
        export_id: str = request.path_params["export_id"]
        links.check(request, f"/v1/exports/{export_id}")
        # What was signed is an id of ours.
        file = await files.ready(UUID(export_id))
        if file is None:
            raise Problem("NOT_FOUND")
        name = f"mindstream-export-{file.ready_at:%Y-%m-%d}.zip"
        return Download(file.size_bytes, files.pieces(file), MEDIA_TYPE, name)

    return [download_export]
