-- migrate:up
SET lock_timeout = '5s';

-- An empty table like the live one for a rebuild to fill: unique indexes only. An index that is kept
-- up row by row costs several times what building it afterwards does, and only keys are looked up
-- while the rows grow. Storage options are the live table's, too.
CREATE FUNCTION mirror_bare(live regclass, shadow text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    PERFORM mirror_table(live, shadow);
    FOR r IN
        SELECT indexrelid::regclass AS name FROM pg_index
        WHERE indrelid = format('%I', shadow)::regclass AND NOT indisunique AND NOT indisexclusion
    LOOP
        EXECUTE format('DROP INDEX %s', r.name);
    END LOOP;
    FOR r IN SELECT unnest(reloptions) AS option FROM pg_class WHERE oid = live LOOP
        EXECUTE format('ALTER TABLE %I SET (%s)', shadow, r.option);
    END LOOP;
END
$$;

-- The indexes that the live table has and its shadow lacks. Does nothing where there is none, so that
-- it may be done again after a crash.
CREATE FUNCTION index_mirror(live regclass, shadow text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        WITH indexes AS (
            SELECT indrelid, pg_get_indexdef(indexrelid) AS definition
            FROM pg_index WHERE NOT indisunique AND NOT indisexclusion
        ), defined AS (
            SELECT indrelid, substr(definition, strpos(definition, ' USING ')) AS definition
            FROM indexes
        )
        SELECT definition FROM defined WHERE indrelid = live
        EXCEPT
        SELECT definition FROM defined WHERE indrelid = format('%I', shadow)::regclass
    LOOP
        EXECUTE format('CREATE INDEX ON %I%s', shadow, r.definition);
    END LOOP;
END
$$;

-- What the last rebuild of a projection took, from which the next one is foretold: seconds to fold so
-- many events, and seconds until the rows had taken their turn.
CREATE TABLE projection_measures (
    name              text COLLATE "C" NOT NULL PRIMARY KEY,
    events            bigint      NOT NULL,
    folding_seconds   double precision NOT NULL,
    finishing_seconds double precision NOT NULL,
    measured_at       timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE projection_measures OWNER TO mindstream_project;
GRANT SELECT ON projection_measures TO mindstream_read, mindstream_write;

-- Which streams have an event of a range of time. Times follow positions closely, so a few pages of a
-- summary do; an append hardly notices it.
CREATE INDEX events_recorded_at ON events USING brin (recorded_at);

-- migrate:down
SET lock_timeout = '5s';
DROP INDEX events_recorded_at;
DROP TABLE projection_measures;
DROP FUNCTION index_mirror;
DROP FUNCTION mirror_bare;
