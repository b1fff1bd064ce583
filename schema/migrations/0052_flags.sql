-- migrate:up
SET lock_timeout = '5s';

-- The feature flags, which are everybody's: whoever is known may see them. tenant_id is that of the
-- operator who set one last.
CREATE TABLE flags_definitions (
    name        text COLLATE "C" NOT NULL PRIMARY KEY,
    tenant_id   uuid        NOT NULL,
    enabled     boolean     NOT NULL,
    updated_at  timestamptz NOT NULL,
    version     integer     NOT NULL,
    document    text        NOT NULL
);
COMMENT ON TABLE flags_definitions IS 'Read model: feature flags as their streams tell them (projection flags.definitions)';
ALTER TABLE flags_definitions OWNER TO mindstream_project;
ALTER TABLE flags_definitions ENABLE ROW LEVEL SECURITY;
ALTER TABLE flags_definitions FORCE ROW LEVEL SECURITY;
CREATE POLICY known ON flags_definitions FOR SELECT TO mindstream_read
    USING (nullif(current_setting('mindstream.user_id', true), '')::uuid IS NOT NULL);
GRANT SELECT ON flags_definitions TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE flags_definitions;
