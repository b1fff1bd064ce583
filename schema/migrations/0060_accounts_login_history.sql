-- migrate:up
SET lock_timeout = '5s';

-- Which logins each person has ever had; what happened in them is in their streams.
CREATE TABLE accounts_login_history (
    login_id    uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    began_at    timestamptz NOT NULL
);
CREATE INDEX accounts_login_history_user ON accounts_login_history (user_id, began_at);
COMMENT ON TABLE accounts_login_history IS 'Read model (projection accounts.login_history)';

ALTER TABLE accounts_login_history OWNER TO mindstream_project;
ALTER TABLE accounts_login_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_login_history FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts_login_history USING (
    user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
GRANT SELECT ON accounts_login_history TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_login_history;
