"""The official client, made to talk to OpenSearch as well as to Elasticsearch.

OpenSearch does not know the client's versioned media types, and does not call itself Elasticsearch,
without which the client gives up. The nodes here send the plain types, which both know, and say the
name. Owns these and how long is waited for a server.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from elastic_transport import AiohttpHttpNode, HttpHeaders, TransportError, Urllib3HttpNode
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch

ASKING = 3.0
"""Seconds that a search may take."""
WRITING = 30.0
"""Seconds that a batch may take: a server that has just started, or is busy, takes many."""

_JSON = "application/json"
_TYPES = {
    "application/vnd.elasticsearch+json; compatible-with=8": _JSON,
    "application/vnd.elasticsearch+x-ndjson; compatible-with=8": "application/x-ndjson",
}
Wait = DefaultType | float | None


def _plain(headers: HttpHeaders | None) -> HttpHeaders:
    """The headers of a request with types that both servers know."""
    plain = HttpHeaders(headers or {})
    for name in ("accept", "content-type"):
        if (value := plain.get(name)) is not None:
            plain[name] = ",".join(_TYPES.get(one.strip(), one.strip()) for one in value.split(","))
    return plain


def _named(answer: Any) -> Any:
    """An answer that says what the client wants to hear."""
    headers = HttpHeaders(answer.meta.headers)
    headers["x-elastic-product"] = "Elasticsearch"
    answer.meta.headers = headers
    return answer


class PlainNode(Urllib3HttpNode):
    """A node of either server, for one thread at a time."""

    def perform_request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: Wait = DEFAULT,
    ) -> Any:
        """Send a request."""
        return _named(
            super().perform_request(method, target, body, _plain(headers), request_timeout)
        )


class AsyncPlainNode(AiohttpHttpNode):
    """A node of either server, on an event loop."""

    async def perform_request(  # type: ignore[override]  # the base calls its coroutine a response
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: HttpHeaders | None = None,
        request_timeout: Wait = DEFAULT,
    ) -> Any:
        """Send a request."""
        return _named(
            await super().perform_request(method, target, body, _plain(headers), request_timeout)
        )


def _address(url: str) -> str:
    """The address with its port, which the client wants to be told."""
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    port = 443 if parts.scheme == "https" else 80
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}:{port}"))


def version_of(url: str) -> str | None:
    """Which server answers there (``opensearch 2.19.3``); None: none does."""
    with client(url) as asking:
        try:
            version = asking.info()["version"]
        except (TransportError, ApiError):
            return None
    return f"{version.get('distribution', 'elasticsearch')} {version['number']}"


def client(url: str) -> Elasticsearch:
    """The client of whoever writes. It does not try again: the engine does."""
    return Elasticsearch(
        _address(url),
        node_class=PlainNode,
        request_timeout=WRITING,
        max_retries=0,
        retry_on_timeout=False,
    )


def async_client(url: str) -> AsyncElasticsearch:
    """The client of whoever asks."""
    return AsyncElasticsearch(
        _address(url),
        node_class=AsyncPlainNode,
        request_timeout=ASKING,
        max_retries=0,
        retry_on_timeout=False,
    )
