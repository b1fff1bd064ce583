-- migrate:up
SET lock_timeout = '5s';

-- Secrets, and what is known of them, beside the event store and never in it.

-- A row whose user_id belongs to no stream comes from a registration that did not finish; it opens
-- nothing, and is swept.
CREATE TABLE accounts_credentials (
    user_id        uuid        NOT NULL PRIMARY KEY,
    password_hash  bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    changed_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN accounts_credentials.password_hash IS 'Argon2id or imported bcrypt, sealed';

CREATE TABLE accounts_logins (
    login_id    uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    last_seen   timestamptz NOT NULL DEFAULT now(),
    address     text,
    agent       text,
    expires_at  timestamptz NOT NULL,
    ended_at    timestamptz
);
CREATE INDEX accounts_logins_user ON accounts_logins (user_id, started_at);
CREATE INDEX accounts_logins_ended ON accounts_logins (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX accounts_logins_expiry ON accounts_logins (expires_at);

CREATE TABLE accounts_refresh_tokens (
    hash       bytea       NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    login_id   uuid        NOT NULL REFERENCES accounts_logins ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
CREATE INDEX accounts_refresh_tokens_login ON accounts_refresh_tokens (login_id);
COMMENT ON COLUMN accounts_refresh_tokens.hash IS 'SHA-256 of a token of 256 random bits';

CREATE TABLE accounts_signing_keys (
    kid          text        NOT NULL PRIMARY KEY,
    private_pem  bytea       NOT NULL,
    public_jwk   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    retired_at   timestamptz
);
COMMENT ON COLUMN accounts_signing_keys.private_pem IS 'PKCS #8, sealed';

GRANT SELECT, INSERT, UPDATE, DELETE ON
    accounts_credentials, accounts_logins, accounts_refresh_tokens, accounts_signing_keys
    TO mindstream_write;
-- What any process needs to check a token, and nothing that helps to make one.
GRANT SELECT (login_id, ended_at) ON accounts_logins TO mindstream_read;
GRANT SELECT (kid, public_jwk, created_at, retired_at) ON accounts_signing_keys TO mindstream_read;

ALTER TABLE accounts_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_credentials FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts_logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_logins FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts_refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY writer ON accounts_credentials TO mindstream_write USING (true);
CREATE POLICY writer ON accounts_logins TO mindstream_write USING (true);
CREATE POLICY ended ON accounts_logins FOR SELECT TO mindstream_read USING (ended_at IS NOT NULL);
CREATE POLICY writer ON accounts_refresh_tokens TO mindstream_write USING (true);

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_signing_keys, accounts_refresh_tokens, accounts_logins, accounts_credentials;
