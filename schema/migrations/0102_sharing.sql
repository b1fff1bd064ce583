-- migrate:up
SET lock_timeout = '5s';

-- Whom the analysts of each tenant may count. It lies where the time series lie, so that analysts'
-- views need no other database.
CREATE TABLE accounts_sharing (
    tenant_id   uuid        NOT NULL PRIMARY KEY,
    members     uuid[]      NOT NULL,
    open        boolean     NOT NULL
);
COMMENT ON TABLE accounts_sharing IS
    'Read model: members who share with their tenants'' analysts (projection accounts.sharing)';
ALTER TABLE accounts_sharing OWNER TO mindstream_project;
ALTER TABLE accounts_sharing ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_sharing FORCE ROW LEVEL SECURITY;
CREATE POLICY members ON accounts_sharing FOR SELECT TO mindstream_read
    USING (members @> ARRAY[nullif(current_setting('mindstream.user_id', true), '')::uuid]);
GRANT SELECT ON accounts_sharing TO mindstream_read;

CREATE OR REPLACE FUNCTION analytics.read_people()
RETURNS TABLE (tenant_id uuid, user_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.tenant_id, unnest(s.members)
    FROM analytics.logins l JOIN public.accounts_sharing s USING (tenant_id)
    WHERE l.login = session_user AND s.open
$$;

-- migrate:down
SET lock_timeout = '5s';
CREATE OR REPLACE FUNCTION analytics.read_people()
RETURNS TABLE (tenant_id uuid, user_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.tenant_id, (m ->> 'user_id')::uuid
    FROM analytics.logins l
    JOIN public.accounts_tenants t USING (tenant_id),
         jsonb_array_elements(t.document::jsonb -> 'members') AS m
    WHERE l.login = session_user AND t.state = 'active' AND (m ->> 'shares_analytics')::boolean
$$;
DROP TABLE accounts_sharing;
