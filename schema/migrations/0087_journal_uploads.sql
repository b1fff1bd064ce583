-- migrate:up
SET lock_timeout = '5s';

-- Uploads of attachments that were announced and are not completed. What they are to be lies here
-- until then and is swept after a while; the attachments themselves are events.
CREATE TABLE journal_uploads (
    attachment_id   uuid        NOT NULL PRIMARY KEY,
    entry_id        uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    declared        bytea       NOT NULL,
    expires_at      timestamptz NOT NULL
);
CREATE INDEX journal_uploads_user ON journal_uploads (user_id);
CREATE INDEX journal_uploads_expiry ON journal_uploads (expires_at);
COMMENT ON COLUMN journal_uploads.declared IS 'Sealed';

GRANT SELECT, INSERT, DELETE ON journal_uploads TO mindstream_write;
ALTER TABLE journal_uploads ENABLE ROW LEVEL SECURITY;
ALTER TABLE journal_uploads FORCE ROW LEVEL SECURITY;
CREATE POLICY working ON journal_uploads TO mindstream_write USING (true) WITH CHECK (true);

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE journal_uploads;
