-- migrate:up
SET lock_timeout = '5s';

-- What was sent to an address to prove that somebody reads there. ``key`` is that of the effect that
-- sent it: sent again, the same row.
CREATE TABLE accounts_mail_tokens (
    hash        bytea       NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    purpose     text        NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    user_id     uuid        NOT NULL,
    key         uuid        NOT NULL UNIQUE,
    issued_at   timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz
);
CREATE INDEX accounts_mail_tokens_user ON accounts_mail_tokens (user_id, purpose, issued_at);
CREATE INDEX accounts_mail_tokens_expiry ON accounts_mail_tokens (expires_at);
COMMENT ON COLUMN accounts_mail_tokens.hash IS 'SHA-256 of a token of 256 bits';

GRANT SELECT, INSERT, UPDATE, DELETE ON accounts_mail_tokens TO mindstream_write;
ALTER TABLE accounts_mail_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_mail_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY writer ON accounts_mail_tokens TO mindstream_write USING (true) WITH CHECK (true);

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_mail_tokens;
