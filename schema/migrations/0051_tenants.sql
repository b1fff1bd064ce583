-- migrate:up
SET lock_timeout = '5s';

-- The tenants as their members see them; document is JSON of the tenant.
CREATE TABLE accounts_tenants (
    tenant_id   uuid        NOT NULL PRIMARY KEY,
    members     uuid[]      NOT NULL,
    state       text        NOT NULL,
    created_by  uuid        NOT NULL,
    created_at  timestamptz NOT NULL,
    version     integer     NOT NULL,
    document    text        NOT NULL
);
CREATE INDEX accounts_tenants_members ON accounts_tenants USING gin (members);
COMMENT ON TABLE accounts_tenants IS 'Read model: tenants as their streams tell them (projection accounts.tenants)';
ALTER TABLE accounts_tenants OWNER TO mindstream_project;
ALTER TABLE accounts_tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY members ON accounts_tenants FOR SELECT TO mindstream_read
    USING (members @> ARRAY[nullif(current_setting('mindstream.user_id', true), '')::uuid]);
GRANT SELECT ON accounts_tenants TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_tenants;
