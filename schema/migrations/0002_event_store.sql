-- migrate:up
SET lock_timeout = '5s';

-- One total order of everything that ever happened. Positions are gapless: append_events draws them
-- under an exclusive lock that is held until the commit is visible.
CREATE TABLE events (
    position        bigint      NOT NULL PRIMARY KEY,
    stream_id       text COLLATE "C" NOT NULL,
    stream_version  integer     NOT NULL CHECK (stream_version >= 0),
    topic           text COLLATE "C" NOT NULL,
    tenant_id       uuid        NOT NULL,
    event_id        uuid        NOT NULL,
    correlation_id  text COLLATE "C" NOT NULL,
    causation_id    uuid,
    actor           text        NOT NULL,
    trace_id        text,
    recorded_at     timestamptz NOT NULL,
    data            bytea       STORAGE EXTERNAL NOT NULL,
    CONSTRAINT events_stream UNIQUE (stream_id, stream_version)
)
-- Data of up to a page stays in the row, as it is: a catch-up reads it all, and unpacking costs more
-- than the space is worth.
WITH (toast_tuple_target = 8160);
-- Polling by topic must not read past events that nobody takes.
CREATE INDEX events_topic ON events (topic, position);
CREATE INDEX events_correlation ON events (correlation_id);
COMMENT ON TABLE events IS 'The event store: append-only, in one total order by position';

-- Folded state of long streams; may be deleted at any time.
CREATE TABLE snapshots (
    stream_id       text COLLATE "C" NOT NULL,
    stream_version  integer     NOT NULL,
    topic           text COLLATE "C" NOT NULL,
    data            bytea       NOT NULL,
    PRIMARY KEY (stream_id, stream_version)
);

-- Unique names, and which stream holds each.
CREATE TABLE claims (
    kind    text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    holder  text COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, key)
);

-- The first answer to each idempotency key, sealed.
CREATE TABLE idempotency (
    principal    text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    request_hash bytea       NOT NULL,
    response     bytea       NOT NULL,
    position     bigint      NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_age ON idempotency USING brin (recorded_at);

-- Appends a group of commits in one transaction. Commits are numbered from 1; the arrays e_* have
-- one element for each event, in order, a_* one for each stream of a commit, k_* one for each claim
-- and i_* one for each idempotency key. Within a group no two commits share a stream, a claim or a
-- key: the caller sees to that.
--
-- The first row returned has commit_no 0 and the position before the group's first event. One more
-- row follows for each commit that was refused; the others are in, with positions in order.
CREATE FUNCTION append_events(
    e_commit integer[], e_stream text[], e_version integer[], e_topic text[], e_event_id uuid[],
    e_data bytea[], e_tenant uuid[], e_correlation text[], e_causation uuid[], e_actor text[],
    e_trace text[], e_recorded_at timestamptz[],
    a_commit integer[], a_stream text[], a_expected integer[],
    k_commit integer[], k_kind text[], k_key text[], k_expected text[], k_holder text[],
    i_commit integer[], i_principal text[], i_key text[], i_hash bytea[], i_response bytea[],
    i_recorded_at timestamptz[]
) RETURNS TABLE (
    commit_no integer, outcome text, subject text, holder text, at_position bigint,
    request_hash bytea, response bytea
) LANGUAGE plpgsql
-- Plans are kept for the life of a connection; one that was made while the tables were small would
-- scan them when they are large.
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    refused integer[] := '{}';
    head bigint;
    r record;
BEGIN
    -- Taken before positions are drawn and kept until the commit: whoever sees position p has seen
    -- every smaller one.
    PERFORM pg_advisory_xact_lock(7022026);

    IF cardinality(i_commit) > 0 THEN
        FOR r IN
            SELECT i.commit_no AS c, d.position AS p, d.request_hash AS h, d.response AS body
            FROM unnest(i_commit, i_principal, i_key) AS i (commit_no, principal, key)
            JOIN idempotency d ON d.principal = i.principal AND d.key = i.key
        LOOP
            refused := refused || r.c;
            commit_no := r.c; outcome := 'replayed'; subject := NULL; holder := NULL;
            at_position := r.p; request_hash := r.h; response := r.body;
            RETURN NEXT;
        END LOOP;
        request_hash := NULL; response := NULL;
    END IF;

    FOR r IN
        SELECT a.commit_no AS c, a.stream_id AS s
        FROM unnest(a_commit, a_stream, a_expected) AS a (commit_no, stream_id, expected)
        WHERE a.expected <> coalesce((
            SELECT e.stream_version FROM events e
            WHERE e.stream_id = a.stream_id ORDER BY e.stream_version DESC LIMIT 1), 0)
    LOOP
        CONTINUE WHEN r.c = ANY (refused);
        refused := refused || r.c;
        commit_no := r.c; outcome := 'conflict'; subject := r.s; holder := NULL; at_position := 0;
        RETURN NEXT;
    END LOOP;

    IF cardinality(k_commit) > 0 THEN
        FOR r IN
            SELECT k.commit_no AS c, k.kind || E'\x1f' || k.key AS s, d.holder AS h
            FROM unnest(k_commit, k_kind, k_key, k_expected)
                AS k (commit_no, kind, key, expected)
            LEFT JOIN claims d ON d.kind = k.kind AND d.key = k.key
            WHERE d.holder IS DISTINCT FROM k.expected
        LOOP
            CONTINUE WHEN r.c = ANY (refused);
            refused := refused || r.c;
            commit_no := r.c; outcome := 'claimed'; subject := r.s; holder := r.h; at_position := 0;
            RETURN NEXT;
        END LOOP;
    END IF;

    SELECT coalesce(max(e.position), 0) INTO head FROM events e;
    commit_no := 0; outcome := 'head'; subject := NULL; holder := NULL; at_position := head;
    RETURN NEXT;

    INSERT INTO events (position, stream_id, stream_version, topic, tenant_id, event_id,
                        correlation_id, causation_id, actor, trace_id, recorded_at, data)
    SELECT head + row_number() OVER (ORDER BY e.n), e.stream_id, e.stream_version, e.topic,
           e.tenant_id, e.event_id, e.correlation_id, e.causation_id, e.actor, e.trace_id,
           e.recorded_at, e.data
    FROM unnest(e_commit, e_stream, e_version, e_topic, e_event_id, e_data, e_tenant,
                e_correlation, e_causation, e_actor, e_trace, e_recorded_at) WITH ORDINALITY
        AS e (commit_no, stream_id, stream_version, topic, event_id, data, tenant_id,
              correlation_id, causation_id, actor, trace_id, recorded_at, n)
    WHERE e.commit_no <> ALL (refused);

    IF cardinality(k_commit) > 0 THEN
        DELETE FROM claims d
        USING unnest(k_commit, k_kind, k_key, k_holder) AS k (commit_no, kind, key, holder)
        WHERE d.kind = k.kind AND d.key = k.key AND k.holder IS NULL
          AND k.commit_no <> ALL (refused);
        INSERT INTO claims (kind, key, holder)
        SELECT k.kind, k.key, k.holder
        FROM unnest(k_commit, k_kind, k_key, k_holder) AS k (commit_no, kind, key, holder)
        WHERE k.holder IS NOT NULL AND k.commit_no <> ALL (refused)
        ON CONFLICT ON CONSTRAINT claims_pkey DO UPDATE SET holder = excluded.holder;
    END IF;

    IF cardinality(i_commit) > 0 THEN
        INSERT INTO idempotency (principal, key, request_hash, response, position, recorded_at)
        SELECT i.principal, i.key, i.hash, i.response,
               head + (SELECT count(*) FROM unnest(e_commit) AS e (commit_no)
                       WHERE e.commit_no <= i.commit_no AND e.commit_no <> ALL (refused)),
               i.recorded_at
        FROM unnest(i_commit, i_principal, i_key, i_hash, i_response, i_recorded_at)
            AS i (commit_no, principal, key, hash, response, recorded_at)
        WHERE i.commit_no <> ALL (refused);
    END IF;
END
$$;

GRANT SELECT, INSERT ON events TO mindstream_write;
GRANT SELECT, INSERT, DELETE ON snapshots TO mindstream_write;
GRANT SELECT, INSERT, UPDATE, DELETE ON claims TO mindstream_write;
GRANT SELECT, INSERT, DELETE ON idempotency TO mindstream_write;
GRANT SELECT ON events TO mindstream_project;
GRANT SELECT ON events TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP FUNCTION append_events;
DROP TABLE idempotency, claims, snapshots, events;
