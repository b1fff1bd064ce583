-- migrate:up
SET lock_timeout = '5s';

-- Exports of everything about a person, as files in sealed pieces. They have the id of their
-- operation. run is the attempt that writes, or wrote, the file; what another attempt left is not
-- part of it.
CREATE TABLE exports (
    export_id   uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    run         uuid        NOT NULL,
    begun_at    timestamptz NOT NULL DEFAULT now(),
    ready_at    timestamptz,
    expires_at  timestamptz,
    result      json,
    CONSTRAINT exports_ready CHECK (
        (ready_at IS NULL) = (expires_at IS NULL) AND (ready_at IS NULL) = (result IS NULL))
);
CREATE INDEX exports_user ON exports (user_id);
CREATE INDEX exports_expiry ON exports (expires_at);

CREATE TABLE export_pieces (
    export_id   uuid        NOT NULL REFERENCES exports ON DELETE CASCADE,
    run         uuid        NOT NULL,
    piece_no    integer     NOT NULL,
    data        bytea       STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (export_id, run, piece_no)
);
COMMENT ON COLUMN export_pieces.data IS 'Sealed';

GRANT SELECT, INSERT, UPDATE, DELETE ON exports, export_pieces TO mindstream_write;
GRANT SELECT ON exports, export_pieces TO mindstream_read;

ALTER TABLE exports ENABLE ROW LEVEL SECURITY;
ALTER TABLE exports FORCE ROW LEVEL SECURITY;
ALTER TABLE export_pieces ENABLE ROW LEVEL SECURITY;
ALTER TABLE export_pieces FORCE ROW LEVEL SECURITY;
CREATE POLICY working ON exports TO mindstream_write USING (true) WITH CHECK (true);
CREATE POLICY working ON export_pieces TO mindstream_write USING (true) WITH CHECK (true);
-- A reader is shown the one export that a signed link named.
CREATE POLICY linked ON exports FOR SELECT TO mindstream_read USING (
    export_id = nullif(current_setting('mindstream.export_id', true), '')::uuid);
CREATE POLICY linked ON export_pieces FOR SELECT TO mindstream_read USING (
    export_id = nullif(current_setting('mindstream.export_id', true), '')::uuid);

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE export_pieces, exports;
