-- migrate:up
SET lock_timeout = '5s';

-- Who did what: one row for each event. What was there before and after, from which address and
-- why is in the events themselves, and is read from there: nothing personal lies here.
CREATE TABLE ops_audit (
    position    bigint      NOT NULL PRIMARY KEY,
    id          uuid        NOT NULL,
    tenant_id   uuid        NOT NULL,
    at          timestamptz NOT NULL,
    actor       text COLLATE "C" NOT NULL,
    action      text COLLATE "C" NOT NULL,
    target      text COLLATE "C" NOT NULL,
    category    text COLLATE "C" NOT NULL,
    request_id  text COLLATE "C" NOT NULL
);
CREATE INDEX ops_audit_at ON ops_audit (at);
CREATE INDEX ops_audit_actor ON ops_audit (actor, position);
CREATE INDEX ops_audit_target ON ops_audit (target, position);
CREATE INDEX ops_audit_action ON ops_audit (action, position);
-- Nearly all is people's data: that category is found by the primary key alone.
CREATE INDEX ops_audit_category ON ops_audit (category, position) WHERE category <> 'user_data';
COMMENT ON TABLE ops_audit IS 'Read model: who did what, by event (projection ops.audit)';

ALTER TABLE ops_audit OWNER TO mindstream_project;
ALTER TABLE ops_audit ENABLE ROW LEVEL SECURITY;
ALTER TABLE ops_audit FORCE ROW LEVEL SECURITY;
-- The APIs say that an operator asks when they have checked the permission.
CREATE POLICY operators ON ops_audit FOR SELECT TO mindstream_read, mindstream_write
    USING (current_setting('mindstream.operator', true) = 'on');
GRANT SELECT ON ops_audit TO mindstream_read, mindstream_write;

-- Drops what has had its time, in the generation that is served and in those beside it.
CREATE FUNCTION ops_trim_audit(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text;
    count bigint;
    total bigint := 0;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
          AND (relname = 'ops_audit' OR relname LIKE 'ops\_audit\_\_%')
    LOOP
        EXECUTE format('DELETE FROM %I WHERE at < $1', name) USING before;
        GET DIAGNOSTICS count = ROW_COUNT;
        total := total + count;
    END LOOP;
    RETURN total;
END
$$;
ALTER FUNCTION ops_trim_audit OWNER TO mindstream_project;
REVOKE EXECUTE ON FUNCTION ops_trim_audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ops_trim_audit TO mindstream_write;

-- Requests as they were answered: no query strings, no bodies, no whole addresses. It is written
-- beside the requests and may lack some; it is no read model.
CREATE TABLE ops_requests (
    id              bigint      GENERATED ALWAYS AS IDENTITY,
    at              timestamptz NOT NULL,
    service         text        NOT NULL,
    request_id      text COLLATE "C" NOT NULL,
    method          text        NOT NULL,
    route           text        NOT NULL,
    status          integer     NOT NULL,
    duration_ms     double precision NOT NULL,
    user_id         uuid,
    tenant_id       uuid,
    api_key_id      uuid,
    client_version  text,
    address         text
);
CREATE INDEX ops_requests_at ON ops_requests (at, id);
CREATE INDEX ops_requests_refused ON ops_requests (at, id) WHERE status >= 400;
COMMENT ON TABLE ops_requests IS 'Log of requests, sanitised; kept for 90 days';

ALTER TABLE ops_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE ops_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY logging ON ops_requests FOR INSERT TO mindstream_read, mindstream_write
    WITH CHECK (true);
CREATE POLICY trimming ON ops_requests FOR DELETE TO mindstream_write USING (true);
CREATE POLICY operators ON ops_requests FOR SELECT TO mindstream_read, mindstream_write
    USING (current_setting('mindstream.operator', true) = 'on');
GRANT SELECT, INSERT ON ops_requests TO mindstream_read, mindstream_write;
GRANT DELETE ON ops_requests TO mindstream_write;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE ops_requests;
DROP FUNCTION ops_trim_audit;
DROP TABLE ops_audit;
