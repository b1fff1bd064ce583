-- migrate:up
SET lock_timeout = '5s';

-- One row for each entry, at the time at which its first event was recorded. Entries without a mood,
-- and deleted ones, keep their row, since either may change; the view mood_events leaves them out.
CREATE TABLE journal_mood_events (
    time        timestamptz NOT NULL,
    entry_id    uuid        NOT NULL,
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    mood        text        COLLATE "C",
    score       double precision CHECK (score BETWEEN -1 AND 1),
    tags        text[]      NOT NULL,
    word_count  integer     NOT NULL,
    active      boolean     NOT NULL,
    PRIMARY KEY (entry_id, time)
);
CREATE INDEX journal_mood_events_user ON journal_mood_events (user_id, time DESC);
CREATE INDEX journal_mood_events_mood ON journal_mood_events (mood, time DESC);
ALTER TABLE journal_mood_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE journal_mood_events FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON journal_mood_events
    USING (user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
GRANT SELECT ON journal_mood_events TO mindstream_read;
ALTER TABLE journal_mood_events OWNER TO mindstream_project;

-- The tables that are time series: schema/timeseries/ makes them such and fills this. Rows lie in
-- chunks of "every" and are dropped once they are older than "keeps". The view "shows_as" has what
-- people are shown of the rows; "sums_as" what they come to, by buckets of "width".
CREATE TABLE timeseries (
    name        text COLLATE "C" NOT NULL PRIMARY KEY,
    projection  text        NOT NULL,
    every       interval    NOT NULL,
    keeps       interval,
    shows_as    text,
    shows       text,
    sums_as     text,
    sums        text,
    bucket      text,
    width       interval
);
ALTER TABLE timeseries OWNER TO mindstream_project;

-- Each generation of a time series: before which time it was summed up for good, and before which its
-- rows were dropped.
CREATE TABLE timeseries_horizons (
    relation       regclass    NOT NULL PRIMARY KEY,
    series         text COLLATE "C" NOT NULL REFERENCES timeseries ON DELETE CASCADE,
    summed_before  timestamptz NOT NULL DEFAULT '-infinity',
    dropped_before timestamptz NOT NULL DEFAULT '-infinity'
);
ALTER TABLE timeseries_horizons OWNER TO mindstream_project;

-- Gives a table the row-level security and the grants of another.
CREATE FUNCTION mirror_security(live regclass, shadow text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = live LOOP
        IF r.relrowsecurity THEN
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', shadow);
        END IF;
        IF r.relforcerowsecurity THEN
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', shadow);
        END IF;
    END LOOP;
    FOR r IN
        SELECT p.polname, p.polpermissive, p.polcmd,
               pg_get_expr(p.polqual, p.polrelid) AS qual,
               pg_get_expr(p.polwithcheck, p.polrelid) AS with_check,
               coalesce((SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles
                         WHERE oid = ANY (p.polroles)), 'PUBLIC') AS roles
        FROM pg_policy p WHERE p.polrelid = live
    LOOP
        EXECUTE format('CREATE POLICY %I ON %I AS %s FOR %s TO %s %s %s', r.polname, shadow,
            CASE WHEN r.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE r.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                          WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
            r.roles,
            CASE WHEN r.qual IS NULL THEN '' ELSE format('USING (%s)', r.qual) END,
            CASE WHEN r.with_check IS NULL THEN ''
                 ELSE format('WITH CHECK (%s)', r.with_check) END);
    END LOOP;
    FOR r IN
        SELECT coalesce(quote_ident(g.rolname), 'PUBLIC') AS grantee, a.privilege_type
        FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
        WHERE c.oid = live AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s', r.privilege_type, shadow, r.grantee);
    END LOOP;
END
$$;

-- A new generation's empty table, with unique indexes only; of a time series it is one, too.
CREATE FUNCTION begin_generation(live text, shadow text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    PERFORM drop_generation(shadow);
    IF NOT EXISTS (SELECT FROM timeseries_horizons WHERE relation = to_regclass(live)) THEN
        PERFORM mirror_bare(live::regclass, shadow);
        RETURN;
    END IF;
    PERFORM timeseries_mirror(live, shadow);
    FOR r IN
        SELECT indexrelid::regclass AS name FROM pg_index
        WHERE indrelid = format('%I', shadow)::regclass AND NOT indisunique AND NOT indisexclusion
    LOOP
        EXECUTE format('DROP INDEX %s', r.name);
    END LOOP;
END
$$;

CREATE FUNCTION drop_generation(shadow text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM timeseries_horizons WHERE relation = to_regclass(format('%I', shadow))) THEN
        PERFORM timeseries_drop(shadow);
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', shadow);
END
$$;

-- Lets a generation take the live table's place, which is kept under another name. Whatever goes with
-- a time series takes turns with it. A view knows a table by its number: each view of the live one,
-- whoever made it, is made anew to follow the name; only its owner may do that.
CREATE FUNCTION swap_generations(live text, kept text, chosen text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    suffix text;
    r record;
    statements text[] := '{}';
    statement text;
BEGIN
    FOR r IN
        SELECT DISTINCT v.oid::regclass AS name, pg_get_viewdef(v.oid) AS body,
               coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', '') AS options
        FROM pg_depend d
        JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
        JOIN pg_class v ON v.oid = w.ev_class AND v.relkind = 'v'
        WHERE d.refclassid = 'pg_class'::regclass
          AND d.refobjid IN (to_regclass(format('%I', live)),
                             to_regclass(format('%I', live || '_summary')),
                             to_regclass(format('%I', live || '_rolled')))
          AND v.relname <> live || '_summary'
          AND v.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^_timescaledb')
    LOOP
        statements := statements
            || format('CREATE OR REPLACE VIEW %s%s AS %s', r.name, r.options, r.body);
    END LOOP;
    FOREACH suffix IN ARRAY ARRAY['', '_rolled', '_summary'] LOOP
        PERFORM rename_relation(live || suffix, kept || suffix);
        PERFORM rename_relation(chosen || suffix, live || suffix);
    END LOOP;
    FOREACH statement IN ARRAY statements LOOP
        EXECUTE statement;
    END LOOP;
    IF EXISTS (SELECT FROM timeseries WHERE name = live) THEN
        PERFORM timeseries_follow(kept, live);
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION swap_generations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION swap_generations TO mindstream_project;

CREATE FUNCTION rename_relation(old text, new text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF to_regclass(format('%I', old)) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'ALTER %s %I RENAME TO %I',
        (SELECT CASE WHEN relkind <> 'v' THEN 'TABLE'
                     WHEN timeseries_is_continuous(old) THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END
         FROM pg_class WHERE oid = to_regclass(format('%I', old))),
        old, new);
END
$$;

-- Of a table that is a time series of TimescaleDB, schema/timeseries/ knows more.
CREATE FUNCTION timeseries_is_continuous(relation_name text) RETURNS boolean LANGUAGE sql AS $$
    SELECT false
$$;

-- migrate:down
SET lock_timeout = '5s';
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname ~ '^timeseries_'
    LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', r.signature);
    END LOOP;
    FOR r IN SELECT name || '_rolled' AS companion FROM timeseries LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', r.companion);
    END LOOP;
END
$$;
DROP FUNCTION swap_generations, begin_generation, drop_generation, rename_relation, mirror_security;
DROP TABLE timeseries_horizons, timeseries;
DROP TABLE journal_mood_events CASCADE;
