"""How a search server fails: it is away, which one waits out, or it takes something for wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from projections.engine.outside import StoreUnavailable


class Refused(Exception):
    """The store takes a document for wrong: what made it is at fault, not the store."""


@contextmanager
def answering() -> Iterator[None]:
    """Tell a store that is away from a fault of ours; neither error quotes a document."""
    from elastic_transport import ConnectionTimeout, TransportError  # noqa: PLC0415 - see client
    from elasticsearch import ApiError, NotFoundError  # noqa: PLC0415

    try:
        yield
    except ConnectionTimeout as error:
        raise StoreUnavailable("the search store took too long") from error
    except TransportError as error:
        raise StoreUnavailable("the search store does not answer") from error
    except NotFoundError as error:
        raise StoreUnavailable("the search store has no such index: rebuild it") from error
    except ApiError as error:
        if error.meta.status == 429 or error.meta.status >= 500:
            raise StoreUnavailable(f"the search store answers {error.meta.status}") from error
        raise Refused(f"the search store answers {error.meta.status}") from None
