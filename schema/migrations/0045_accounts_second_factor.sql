-- migrate:up
SET lock_timeout = '5s';

-- Seeds of authenticator apps. One that is not confirmed yet opens nothing and asks for nothing.
CREATE TABLE accounts_totp (
    user_id       uuid        NOT NULL PRIMARY KEY,
    seed_id       uuid        NOT NULL,
    seed          bytea       NOT NULL,
    recovery      bytea[]     NOT NULL,
    last_step     bigint      NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    confirmed_at  timestamptz
);
COMMENT ON COLUMN accounts_totp.seed IS 'base32, sealed';
COMMENT ON COLUMN accounts_totp.recovery IS 'SHA-256 of codes of 80 random bits; a used one is gone';
COMMENT ON COLUMN accounts_totp.last_step IS 'The half minute of the last code that was used';

GRANT SELECT, INSERT, UPDATE, DELETE ON accounts_totp TO mindstream_write;
ALTER TABLE accounts_totp ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_totp FORCE ROW LEVEL SECURITY;
CREATE POLICY writer ON accounts_totp TO mindstream_write USING (true);

-- A person's logins as they see them. It is made with the writer's rights, so that the reader needs
-- none on the table beneath, which it may ask for ended logins and nothing else.
CREATE VIEW accounts_open_logins WITH (security_barrier) AS
    SELECT login_id, user_id, started_at, last_seen, address, agent, expires_at
    FROM accounts_logins
    WHERE ended_at IS NULL AND expires_at > now()
      AND user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid;
ALTER VIEW accounts_open_logins OWNER TO mindstream_write;
GRANT SELECT ON accounts_open_logins TO mindstream_read;

-- migrate:down
SET lock_timeout = '5s';
DROP VIEW accounts_open_logins;
DROP TABLE accounts_totp;
