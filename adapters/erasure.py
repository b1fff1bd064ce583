"""What lies about a person beside the read models, and how it is erased, store by store.

``workers.erasure.Erasable`` is the port; ``STORES`` lists what is erased by one statement each. A
new table that holds something about people gets a line there. Owns too how a person who erased
themselves can look how far it is, though their logins have ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from uuid import UUID

import psycopg
import structlog

from adapters.event_store.subject_keys import SubjectKeys
from adapters.http.principal import Headers, Principal
from adapters.mail.erasure import SentMail
from adapters.operations import SET_OPERATOR
from adapters.postgres.pipeline import Pipeline, Statement
from commands.journal import DAY
from commands.journal_attachments import Objects
from domain.accounts.person import Person
from domain.operation import ERASURE

log = structlog.get_logger()

READABLE_FOR = 24
"""Hours for which the asking token shows the erasure that it asked for."""

_COUNTED = "WITH gone AS ({} RETURNING 1) SELECT count(*) FROM gone"
_NAMES_THEM = "position(convert_to('\"user_id\":\"' || $1::text || '\"', 'UTF8') IN e.data) > 0"

# By store: its name in the report, and what erases it. $1 is the person's id, $2 the operation's.
LOGINS = (
    "accounts_logins",
    # The rows stay for a day, so that every process knows that these logins have ended.
    """UPDATE accounts_logins SET ended_at = coalesce(ended_at, now()), address = NULL, agent = NULL
       WHERE user_id = $1 AND (ended_at IS NULL OR address IS NOT NULL OR agent IS NOT NULL)""",
)
STORES = (
    (
        "accounts_refresh_tokens",
        """DELETE FROM accounts_refresh_tokens t USING accounts_logins l
           WHERE t.login_id = l.login_id AND l.user_id = $1""",
    ),
    ("accounts_credentials", "DELETE FROM accounts_credentials WHERE user_id = $1"),
    ("accounts_totp", "DELETE FROM accounts_totp WHERE user_id = $1"),
    ("accounts_github", "DELETE FROM accounts_github WHERE user_id = $1"),
    ("accounts_key_hashes", "DELETE FROM accounts_key_hashes WHERE user_id = $1"),
    ("accounts_mail_tokens", "DELETE FROM accounts_mail_tokens WHERE user_id = $1"),
    ("insight_views", "DELETE FROM insight_views WHERE user_id = $1"),
    ("exports", "DELETE FROM exports WHERE user_id = $1"),
    ("journal_uploads", "DELETE FROM journal_uploads WHERE user_id = $1"),
    ("ops_requests", "DELETE FROM ops_requests WHERE user_id = $1"),
    (
        "claims",
        f"""DELETE FROM claims WHERE holder = 'accounts.person-' || $1::text
               OR (kind = '{DAY}' AND right(key, 36) = $1::text)""",
    ),
    # Also those of visitors who became, or logged in as, this person.
    (
        "idempotency",
        f"""DELETE FROM idempotency i WHERE principal = 'user:' || $1::text
               OR principal IN (SELECT 'op:' || o.id FROM operations o WHERE o.user_id = $1)
               OR EXISTS (SELECT FROM events e WHERE e.position = i.position AND {_NAMES_THEM})""",
    ),
    (
        "snapshots",
        """DELETE FROM snapshots WHERE stream_id = 'accounts.person-' || $1::text
               OR substring(data FROM 1 FOR 17) = '\\x00'::bytea || uuid_send($1)""",
    ),
    (
        "operation_input",
        """DELETE FROM operation_input i USING operations o
           WHERE i.operation_id = o.id AND o.user_id = $1""",
    ),
    # Whoever works on one finds that it is not theirs any more, and stops.
    ("operations", "DELETE FROM operations WHERE user_id = $1 AND id <> $2"),
)

# The row is left, or somebody who comes late would make the person a new key.
_DESTROY = Statement(
    "erasure_key",
    """
    WITH destroyed AS (
        INSERT INTO subject_keys AS k (subject_id, erased_at) VALUES ($1, now())
        ON CONFLICT (subject_id) DO UPDATE
            SET wrapped = NULL, master_generation = NULL, erased_at = now()
            WHERE k.erased_at IS NULL
        RETURNING 1
    )
    SELECT count(*) FROM destroyed
    """,
    ("uuid",),
)
_ASKED = Statement(
    "erasure_asked",
    f"""
    SELECT user_id, tenant_id FROM operations
    WHERE id = $1 AND kind = '{ERASURE}' AND params->>'asked_by' = $2
      AND created_at > now() - interval '{READABLE_FOR} hours'
    """,
    ("uuid", "text"),
)


class SqlStore:
    """Rows that one statement erases. The pipeline's role is ``mindstream_write``."""

    def __init__(self, pipeline: Pipeline, name: str, sql: str) -> None:
        self.name = name
        self._pipeline = pipeline
        parameters = ("uuid", "uuid") if "$2" in sql else ("uuid",)
        self._statement = Statement(f"erasure_{name}", _COUNTED.format(sql), parameters)

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """How many rows there were."""
        values = (person.id, operation_id)[: len(self._statement.oids)]
        # Of some tables only an operator is shown what there is to delete.
        _, [(count,)] = await self._pipeline.run((SET_OPERATOR, ()), (self._statement, values))
        return int(count)


class DataKey:
    """The person's data key: without it nothing that was sealed for them can be opened."""

    name = "subject_keys"

    def __init__(self, pipeline: Pipeline, keys: SubjectKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """One, unless it was destroyed before."""
        [[(count,)]] = await self._pipeline.run((_DESTROY, (person.id,)))
        self._keys.forget([person.id])
        return int(count)


class Sent:
    """What was sent to the person, as far as it is still here: ``adapters.mail.erasure``."""

    name = "mail"

    def __init__(self, mail: SentMail) -> None:
        self._mail = mail

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """How many letters there were."""
        return await self._mail.erase(person.id)


class Attached:
    """The files of attachments, uploads under way included."""

    name = "objects"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def erase(self, person: Person, operation_id: UUID) -> int:
        """How many files there were."""
        return await self._objects.erase(person.id)


def stores(pipeline: Pipeline, chosen: Iterable[tuple[str, str]] = STORES) -> list[SqlStore]:
    """The stores that a statement erases."""
    return [SqlStore(pipeline, name, sql) for name, sql in chosen]


def token_digest(authorization: str) -> str:
    """How an operation remembers the token that asked for it."""
    return sha256(authorization.encode("latin-1")).hexdigest()


class AskedErasures:
    """Lets whoever asked for an erasure see that operation and nothing else, by the same token.

    The token was good when it asked; its login has ended since. The pipeline's role is
    ``mindstream_read`` or ``mindstream_write``.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def __call__(self, method: str, path: str, headers: Headers) -> Principal | None:
        """Who asked for the erasure that this path shows, with no right to anything else."""
        prefix, _, last = path.rpartition("/")
        token = headers.get(b"authorization")
        if method not in ("GET", "HEAD") or prefix != "/v1/operations" or token is None:
            return None
        try:
            operation_id = UUID(last)
        except ValueError:
            return None
        digest = token_digest(token.decode("latin-1"))
        try:
            _, rows = await self._pipeline.run((SET_OPERATOR, ()), (_ASKED, (operation_id, digest)))
        except psycopg.OperationalError:
            return None
        if not rows:
            return None
        user_id, tenant_id = rows[0]
        return Principal(user_id, tenant_id, None, None, "none", frozenset())
