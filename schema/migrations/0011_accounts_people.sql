-- migrate:up
SET lock_timeout = '5s';

CREATE TABLE accounts_people (
    user_id        uuid        NOT NULL PRIMARY KEY,
    tenant_id      uuid        NOT NULL,
    timezone       text        NOT NULL,
    language       text        NOT NULL,
    version        integer     NOT NULL,
    created_at     timestamptz NOT NULL,
    last_login_at  timestamptz,
    document       text        NOT NULL
);
COMMENT ON TABLE accounts_people IS 'Read model: people as their streams tell them (projection accounts.people)';
COMMENT ON COLUMN accounts_people.document IS 'JSON of domain.accounts.person.Person';

ALTER TABLE accounts_people OWNER TO mindstream_project;
ALTER TABLE accounts_people ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_people FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts_people FOR SELECT TO mindstream_read
    USING (user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
GRANT SELECT ON accounts_people TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_people;
