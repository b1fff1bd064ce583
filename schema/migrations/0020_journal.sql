-- migrate:up
SET lock_timeout = '5s';

-- The entries as clients see them; document is the JSON of the answer.
CREATE TABLE journal_entries (
    entry_id    uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    date        date        NOT NULL,
    mood        text,
    tags        text[]      NOT NULL,
    is_private  boolean     NOT NULL,
    state       text        NOT NULL,
    updated_at  timestamptz NOT NULL,
    version     integer     NOT NULL,
    document    text        STORAGE EXTERNAL NOT NULL
)
-- Inline up to the size of a page: a list reads each document without a second look-up.
WITH (toast_tuple_target = 8160);
-- Pages are read from it, either way and from the cursor on. A page by updated_at sorts one person's
-- entries: an index for it would cost every write.
CREATE INDEX journal_entries_day ON journal_entries (user_id, date, entry_id);

-- The days on which a person wrote.
CREATE TABLE journal_days (
    entry_id    uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    date        date        NOT NULL,
    mood        text,
    word_count  integer     NOT NULL,
    active      boolean     NOT NULL
);
CREATE INDEX journal_days_day ON journal_days (user_id, date);

-- The tags of each entry that has some.
CREATE TABLE journal_tags (
    entry_id    uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    tags        text[]      NOT NULL,
    active      boolean     NOT NULL
);
CREATE INDEX journal_tags_user ON journal_tags (user_id);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['journal_entries', 'journal_days', 'journal_tags'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own ON %I USING ('
            'user_id = nullif(current_setting(''mindstream.user_id'', true), '''')::uuid)', name);
        EXECUTE format('GRANT SELECT ON %I TO mindstream_read', name);
        EXECUTE format('ALTER TABLE %I OWNER TO mindstream_project', name);
    END LOOP;
END
$$;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE journal_tags, journal_days, journal_entries;
