-- migrate:up
SET lock_timeout = '5s';

-- Which GitHub account opens which account here, and the token that GitHub gave for it.
CREATE TABLE accounts_github (
    github_id  bigint      NOT NULL PRIMARY KEY,
    user_id    uuid        NOT NULL UNIQUE,
    token      bytea       NOT NULL,
    linked_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN accounts_github.token IS 'Access token for GitHub, sealed';

GRANT SELECT, INSERT, UPDATE, DELETE ON accounts_github TO mindstream_write;
ALTER TABLE accounts_github ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_github FORCE ROW LEVEL SECURITY;
CREATE POLICY writer ON accounts_github TO mindstream_write USING (true);

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_github;
