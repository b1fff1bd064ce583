-- migrate:up
SET lock_timeout = '5s';

-- Long work that was accepted. The broker only carries ids: this table is the truth.
CREATE TABLE operations (
    id               uuid        NOT NULL PRIMARY KEY,
    kind             text        NOT NULL,
    user_id          uuid        NOT NULL,
    tenant_id        uuid        NOT NULL,
    correlation_id   text        NOT NULL,
    state            text        NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
    progress         double precision NOT NULL DEFAULT 0,
    eta_seconds      integer,
    detail           text,
    result           json,
    error            json,
    input_bytes      bigint      NOT NULL DEFAULT 0,
    idempotency_key  text COLLATE "C",
    request_hash     bytea,
    cancel_requested boolean     NOT NULL DEFAULT false,
    -- Who works on it, until when unless they say so again; how often one began without progress.
    lease_owner      text,
    lease_until      timestamptz,
    attempts         integer     NOT NULL DEFAULT 0,
    -- When it was last handed to the broker, and how often since somebody last took it.
    offered_at       timestamptz,
    offers           integer     NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz
);
CREATE UNIQUE INDEX operations_key ON operations (user_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX operations_open ON operations (created_at) WHERE state IN ('pending', 'running');
CREATE INDEX operations_user ON operations (user_id, created_at);

-- What an operation works on, sealed, in pieces; staged before the operation itself is there, so
-- that a slow upload holds no transaction. Pieces without an operation are swept.
CREATE TABLE operation_input (
    operation_id uuid        NOT NULL,
    chunk_no     integer     NOT NULL,
    data         bytea       STORAGE EXTERNAL NOT NULL,
    staged_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (operation_id, chunk_no)
);

ALTER TABLE operations ENABLE ROW LEVEL SECURITY;
ALTER TABLE operations FORCE ROW LEVEL SECURITY;
CREATE POLICY working ON operations TO mindstream_write USING (true) WITH CHECK (true);
CREATE POLICY own ON operations FOR SELECT TO mindstream_read USING (
    user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE, DELETE ON operations, operation_input TO mindstream_write;
GRANT SELECT ON operations TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE operation_input, operations;
