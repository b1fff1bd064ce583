-- What analysts may ask with SQL of their own (docs/how-to/query-with-sql.md). A login that is a
-- member of mindstream_analyst sees the tenants that analytics.logins gives it, and in them those
-- members who share, without private entries and without a word that anybody wrote.

-- migrate:up
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mindstream_analyst') THEN
        CREATE ROLE mindstream_analyst NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;
    END IF;
    IF (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'mindstream_analyst') THEN
        RAISE EXCEPTION 'mindstream_analyst must not bypass row-level security';
    END IF;
EXCEPTION
    -- Another database's migration made it between the look and the making.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'For BI tools: views without a word that anybody wrote';

-- Who connects cannot change as whom, so that this binds a login to its tenants.
CREATE TABLE analytics.logins (
    login       name NOT NULL,
    tenant_id   uuid NOT NULL,
    PRIMARY KEY (login, tenant_id)
);
COMMENT ON TABLE analytics.logins IS 'Which tenants each login of the database may count';
GRANT USAGE ON SCHEMA analytics TO mindstream_project, mindstream_analyst;
GRANT SELECT ON analytics.logins TO mindstream_project;

-- Views would cling to the tables that a rebuild replaces. Functions find them by name, each time.
CREATE FUNCTION analytics.read_people()
RETURNS TABLE (tenant_id uuid, user_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tenant_id, (m ->> 'user_id')::uuid
    FROM analytics.logins l
    JOIN public.accounts_tenants t USING (tenant_id),
         jsonb_array_elements(t.document::jsonb -> 'members') AS m
    WHERE l.login = session_user AND t.state = 'active' AND (m ->> 'shares_analytics')::boolean
$$;

CREATE FUNCTION analytics.read_entries()
RETURNS TABLE (
    tenant_id uuid, user_id uuid, date date, mood text, score double precision, words integer
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.tenant_id, p.user_id, d.date, d.mood,
           CASE d.mood WHEN 'ecstatic' THEN 1.0 WHEN 'happy' THEN 0.6 WHEN 'neutral' THEN 0.0
                       WHEN 'anxious' THEN -0.4 WHEN 'sad' THEN -0.6 WHEN 'angry' THEN -0.8 END,
           d.words
    FROM analytics.read_people() p JOIN public.journal_daily d USING (user_id)
    WHERE d.active AND NOT d.is_private
$$;

CREATE FUNCTION analytics.read_activity()
RETURNS TABLE (
    tenant_id uuid, user_id uuid, quarter timestamptz, event_type text, events bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.tenant_id, p.user_id, c.quarter, c.event_type, sum(c.events)
    FROM analytics.read_people() p JOIN public.accounts_activity_counts c USING (user_id)
    GROUP BY 1, 2, 3, 4
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['people', 'entries', 'activity'] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION analytics.read_%s FROM PUBLIC', name);
        EXECUTE format('ALTER FUNCTION analytics.read_%s OWNER TO mindstream_project', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION analytics.read_%s TO mindstream_analyst', name);
        EXECUTE format('CREATE VIEW analytics.%I AS SELECT * FROM analytics.read_%s()', name, name);
        EXECUTE format('GRANT SELECT ON analytics.%I TO mindstream_analyst', name);
    END LOOP;
END
$$;

CREATE VIEW analytics.days AS
SELECT tenant_id, date, count(*) AS entries, sum(words) AS words, count(mood) AS moods,
       avg(score) AS average_score
FROM analytics.entries GROUP BY tenant_id, date;
GRANT SELECT ON analytics.days TO mindstream_analyst;

COMMENT ON VIEW analytics.people IS 'Members of your tenants who let themselves be counted';
COMMENT ON VIEW analytics.entries IS
    'Their entries by date, private ones left out: mood, score (-1 to 1), words';
COMMENT ON VIEW analytics.activity IS
    'What they did: how often each type came in the quarter of an hour that begins then';
COMMENT ON VIEW analytics.days IS 'Entries, words and moods of a tenant by date';

-- migrate:down
SET LOCAL lock_timeout = '5s';
DROP SCHEMA analytics CASCADE;
DO $$
BEGIN
    DROP ROLE IF EXISTS mindstream_analyst;
EXCEPTION
    -- Another database of this server still uses it, or a login is still a member.
    WHEN dependent_objects_still_exist THEN NULL;
END
$$;
