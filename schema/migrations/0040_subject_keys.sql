-- migrate:up
SET lock_timeout = '5s';

-- The data key of each person, wrapped by the master key. What is personal in an event is sealed
-- with it; whoever is erased loses it for ever. The row stays: it says that there is no new key to
-- be made for this person, whoever asks.
CREATE TABLE subject_keys (
    subject_id         uuid        NOT NULL PRIMARY KEY,
    wrapped            bytea,
    master_generation  text COLLATE "C",
    created_at         timestamptz NOT NULL DEFAULT now(),
    erased_at          timestamptz,
    CONSTRAINT subject_keys_erased CHECK (
        (wrapped IS NULL) = (erased_at IS NOT NULL)
        AND (wrapped IS NULL) = (master_generation IS NULL))
);
CREATE INDEX subject_keys_generation ON subject_keys (master_generation, subject_id);
CREATE INDEX subject_keys_erasures ON subject_keys (erased_at) WHERE erased_at IS NOT NULL;
COMMENT ON TABLE subject_keys IS 'Leave its rows out of backups of the data: keep them apart';

GRANT SELECT, INSERT, UPDATE (wrapped, master_generation, erased_at) ON subject_keys
    TO mindstream_write;
GRANT SELECT ON subject_keys TO mindstream_project, mindstream_read;

ALTER TABLE subject_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE subject_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY writing ON subject_keys TO mindstream_write USING (true) WITH CHECK (true);
CREATE POLICY own ON subject_keys FOR SELECT TO mindstream_read USING (
    subject_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
CREATE POLICY operators ON subject_keys FOR SELECT TO mindstream_read
    USING (current_setting('mindstream.operator', true) = 'on');
-- That somebody was erased is to be known by every process, at once.
CREATE POLICY erased ON subject_keys FOR SELECT TO mindstream_read USING (erased_at IS NOT NULL);

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE subject_keys;
