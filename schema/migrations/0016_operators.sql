-- migrate:up
SET lock_timeout = '5s';

-- What an operation was asked for, and whether an operator wants it to wait.
ALTER TABLE operations
    ADD COLUMN params json,
    ADD COLUMN pause_requested boolean NOT NULL DEFAULT false;
CREATE INDEX operations_created ON operations (created_at, id);

-- The read API shows all operations to operators, whose permission it has checked.
CREATE POLICY operators ON operations FOR SELECT TO mindstream_read
    USING (current_setting('mindstream.operator', true) = 'on');

-- Operators retry and discard through the write API; what an item is, only the projector says.
GRANT UPDATE (state, reason, next_try_at, first_failed_at) ON projection_quarantine
    TO mindstream_write;

-- Who holds up the projector. The reader may not look at everybody's statements, so that this
-- function does, as the owner: it shows those that block and no others, without the texts in them.
CREATE FUNCTION projection_blockers() RETURNS TABLE (pid integer, query text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT blocker.pid,
           left(regexp_replace(regexp_replace(blocker.query,
                    '\$([^$]*)\$.*?\$\1\$', '''…''', 'g'),
                    '''(?:[^'']|'''')*(?:''|$)', '''…''', 'g'), 200),
           coalesce(blocker.xact_start, blocker.query_start)
    FROM pg_stat_activity waiting
    CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS held (by)
    JOIN pg_stat_activity blocker ON blocker.pid = held.by
    WHERE waiting.application_name LIKE 'mindstream-projector%'
      AND waiting.datname = current_database()
    ORDER BY 1
$$;
REVOKE EXECUTE ON FUNCTION projection_blockers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION projection_blockers
    TO mindstream_read, mindstream_write, mindstream_project;

-- migrate:down
SET lock_timeout = '5s';
DROP FUNCTION projection_blockers;
REVOKE UPDATE (state, reason, next_try_at, first_failed_at) ON projection_quarantine
    FROM mindstream_write;
DROP POLICY operators ON operations;
DROP INDEX operations_created;
ALTER TABLE operations DROP COLUMN params, DROP COLUMN pause_requested;
