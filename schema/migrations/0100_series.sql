-- migrate:up
SET lock_timeout = '5s';

-- What series are made of. None of these tables is ever joined with another: they may move to a
-- database of time series. Whoever reads for several people at once, with their leave, names all of
-- them in mindstream.user_id, separated by commas. The setting is read once for each query.

-- The entries by their own date: what series of moods, words and entries count. Never dropped.
CREATE TABLE journal_daily (
    entry_id        uuid        NOT NULL PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    date            date        NOT NULL,
    mood            text,
    mood_inferred   text,
    tags            text[]      NOT NULL,
    words           integer     NOT NULL,
    is_private      boolean     NOT NULL,
    active          boolean     NOT NULL
);
CREATE INDEX journal_daily_day ON journal_daily (user_id, date);
COMMENT ON TABLE journal_daily IS 'Read model: entries by date (projection journal.daily)';

-- What people did, one row for each time, by the time it was recorded. Rows may be dropped after
-- six months.
CREATE TABLE accounts_activity_events (
    position        bigint      NOT NULL,
    time            timestamptz NOT NULL,
    user_id         uuid        NOT NULL,
    tenant_id       uuid        NOT NULL,
    event_type      text        NOT NULL,
    target          text        NOT NULL,
    PRIMARY KEY (position, time)
);
CREATE INDEX accounts_activity_events_user ON accounts_activity_events (user_id, time);
COMMENT ON TABLE accounts_activity_events IS
    'Read model: what people did (projection accounts.activity_events)';

-- How often people did it in each quarter of an hour (UTC): in every zone of today a bucket begins
-- with one. Never dropped.
CREATE TABLE accounts_activity_counts (
    user_id         uuid        NOT NULL,
    quarter         timestamptz NOT NULL,
    event_type      text        NOT NULL,
    tenant_id       uuid        NOT NULL,
    events          integer     NOT NULL,
    PRIMARY KEY (user_id, quarter, event_type, tenant_id)
);
COMMENT ON TABLE accounts_activity_counts IS
    'Read model: what people did, counted (projection accounts.activity_counts)';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'journal_daily', 'accounts_activity_events', 'accounts_activity_counts'
    ] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO mindstream_project', name);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own ON %I FOR SELECT TO mindstream_read USING (user_id = ANY ((SELECT'
            ' string_to_array(nullif(current_setting(''mindstream.user_id'', true), ''''), '','')'
            ')::uuid[]))', name);
        EXECUTE format('GRANT SELECT ON %I TO mindstream_read', name);
    END LOOP;
END
$$;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE accounts_activity_counts, accounts_activity_events, journal_daily;
