-- What all forms of time series share. Applied after the numbered migrations and the form's own file,
-- each time: whatever is done here may be done again.
--
-- A generation of a series is a table with companions: <table>_rolled keeps what rows came to when
-- they were dropped, and <table>_summary is what those come to that are there, a view or a continuous
-- aggregate. What people read are views without a generation in their names.

-- The start of the chunk that a time lies in.
CREATE OR REPLACE FUNCTION timeseries_floor(every interval, at timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN extract(month FROM every) > 0
                THEN date_trunc('month', at, 'UTC')
                ELSE date_bin(every, at, 'epoch'::timestamptz) END
$$;

CREATE OR REPLACE FUNCTION timeseries_exists(relation_name text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT to_regclass(format('%I', relation_name)) IS NOT NULL
$$;

-- Gives a table the companions of a series.
CREATE OR REPLACE FUNCTION timeseries_accompany(relation_name text, of_series text) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    s timeseries;
    rolled text := relation_name || '_rolled';
    summary text := relation_name || '_summary';
BEGIN
    SELECT * INTO STRICT s FROM timeseries WHERE name = of_series;
    INSERT INTO timeseries_horizons (relation, series)
    VALUES (format('%I', relation_name)::regclass, of_series) ON CONFLICT DO NOTHING;
    IF s.sums IS NULL THEN
        RETURN;
    END IF;
    IF NOT timeseries_exists(summary) THEN
        PERFORM timeseries_summarise(relation_name, s);
    END IF;
    IF NOT timeseries_exists(rolled) THEN
        EXECUTE format('CREATE TABLE %I AS SELECT * FROM %I WITH NO DATA', rolled, summary);
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (user_id, tenant_id, %I)', rolled, s.bucket);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', rolled);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', rolled);
    END IF;
END
$$;

-- An empty generation beside the live one.
CREATE OR REPLACE FUNCTION timeseries_mirror(live text, shadow text) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    of_series text;
BEGIN
    SELECT series INTO STRICT of_series FROM timeseries_horizons
    WHERE relation = format('%I', live)::regclass;
    PERFORM timeseries_empty(live, shadow, (SELECT every FROM timeseries WHERE name = of_series));
    PERFORM timeseries_accompany(shadow, of_series);
    PERFORM timeseries_ahead(shadow);
END
$$;

-- Removes what goes with a generation; the table itself is the caller's to drop.
CREATE OR REPLACE FUNCTION timeseries_drop(relation_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    summary text := relation_name || '_summary';
BEGIN
    DELETE FROM timeseries_horizons WHERE relation = to_regclass(format('%I', relation_name));
    IF timeseries_exists(summary) THEN
        EXECUTE format('DROP %s %I', CASE WHEN timeseries_is_continuous(summary)
                                          THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, summary);
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', relation_name || '_rolled');
END
$$;

-- Sums up for good what lies before "summed", and drops the rows before "dropped". Both only grow.
CREATE OR REPLACE FUNCTION timeseries_trim(
    relation_name text, summed timestamptz, dropped timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    h timeseries_horizons;
    s timeseries;
BEGIN
    SELECT * INTO STRICT h FROM timeseries_horizons
    WHERE relation = format('%I', relation_name)::regclass FOR UPDATE;
    SELECT * INTO STRICT s FROM timeseries WHERE name = h.series;
    summed := greatest(summed, h.summed_before);
    dropped := greatest(dropped, h.dropped_before);
    IF s.sums IS NOT NULL AND summed > h.summed_before THEN
        EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE %3$I >= $1 AND %3$I < $2',
                       relation_name || '_rolled', relation_name || '_summary', s.bucket)
        USING h.summed_before, summed;
    END IF;
    UPDATE timeseries_horizons SET summed_before = summed, dropped_before = dropped
    WHERE relation = h.relation;
    IF dropped > '-infinity' THEN
        PERFORM timeseries_drop_before(relation_name, dropped);
    END IF;
END
$$;

-- Trims a generation as the live one is, so that the two hold rows of the same time.
CREATE OR REPLACE FUNCTION timeseries_trim_as(live text, shadow text) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    h timeseries_horizons;
BEGIN
    SELECT * INTO h FROM timeseries_horizons
    WHERE relation = format('%I', live)::regclass AND summed_before > '-infinity';
    IF FOUND THEN
        PERFORM timeseries_trim(shadow, h.summed_before, h.dropped_before);
    END IF;
END
$$;

-- Where the horizons of a series are at a time. Both are whole weeks, so that no week is summed up by
-- halves. No row where it is kept for ever.
CREATE OR REPLACE FUNCTION timeseries_horizon(
    series_name text, at timestamptz, OUT summed timestamptz, OUT dropped timestamptz
) RETURNS SETOF record LANGUAGE sql STABLE AS $$
    SELECT h.monday, timeseries_floor(every, h.monday)
    FROM timeseries,
         LATERAL (SELECT date_bin('7 days', at - keeps, '2000-01-03T00:00:00Z')) AS h (monday)
    WHERE name = series_name AND keeps IS NOT NULL
$$;

-- Forgets people in what was summed up; their rows are the caller's to delete.
CREATE OR REPLACE FUNCTION timeseries_forget(relation_name text, users uuid[]) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    IF timeseries_exists(relation_name || '_rolled') THEN
        EXECUTE format('DELETE FROM %I WHERE user_id = ANY ($1)', relation_name || '_rolled')
        USING users;
        PERFORM timeseries_forget_summary(relation_name || '_summary', users);
    END IF;
END
$$;

-- Which rows of a table one may see, as its policies for reading say. They do not bind whoever has the
-- rights of the projector, as the owner has.
CREATE OR REPLACE FUNCTION timeseries_condition(relation regclass) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' OR ',
        '(SELECT pg_has_role(''mindstream_project'', ''USAGE''))',
        string_agg(format('(%s)', pg_get_expr(polqual, polrelid)), ' OR '))
    FROM pg_policy WHERE polrelid = relation AND polpermissive AND polcmd IN ('r', '*')
$$;

-- The views that people read. They hold to the conditions of the table's policies themselves: not
-- every form can have row-level security.
CREATE OR REPLACE FUNCTION timeseries_show(s timeseries) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    own text := timeseries_condition(format('%I', s.name)::regclass);
BEGIN
    IF s.shows_as IS NOT NULL THEN
        EXECUTE format(
            'CREATE OR REPLACE VIEW %I WITH (security_barrier = true) AS %s AND (%s)',
            s.shows_as, replace(s.shows, '{table}', format('%I', s.name)), own);
        EXECUTE format('GRANT SELECT ON %I TO mindstream_read', s.shows_as);
    END IF;
    IF s.sums_as IS NOT NULL THEN
        EXECUTE format(
            'CREATE OR REPLACE VIEW %1$I WITH (security_barrier = true) AS'
            ' SELECT * FROM %2$I WHERE (%5$s) AND %4$I >= ('
            '     SELECT summed_before FROM timeseries_horizons WHERE relation = %6$L::regclass)'
            ' UNION ALL SELECT * FROM %3$I WHERE (%5$s)',
            s.sums_as, s.name || '_summary', s.name || '_rolled', s.bucket, own,
            format('%I', s.name));
        EXECUTE format('GRANT SELECT ON %I TO mindstream_read', s.sums_as);
    END IF;
END
$$;

-- Makes a series of a table that is none, or one of another form; its rows are carried over.
CREATE OR REPLACE FUNCTION timeseries_convert(series_name text, every interval) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    made text := series_name || '__made';
    before text := series_name || '__before';
BEGIN
    -- Nobody writes to it until it is another table; a projector finds that, and tries again.
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', series_name);
    PERFORM timeseries_empty(series_name, made, every);
    PERFORM timeseries_accompany(made, series_name);
    PERFORM timeseries_ahead(made);
    EXECUTE format('INSERT INTO %I SELECT * FROM %I', made, series_name);
    IF timeseries_exists(series_name || '_rolled') THEN
        EXECUTE format('INSERT INTO %I SELECT * FROM %I',
                       made || '_rolled', series_name || '_rolled');
    END IF;
    UPDATE timeseries_horizons
    SET summed_before = old.summed_before, dropped_before = old.dropped_before
    FROM (SELECT summed_before, dropped_before FROM timeseries_horizons
          WHERE relation = format('%I', series_name)::regclass) AS old
    WHERE relation = format('%I', made)::regclass;
    PERFORM swap_generations(series_name, before, made);
    PERFORM drop_generation(before);
END
$$;

-- Makes a series of every table that is to be one and is there.
CREATE OR REPLACE FUNCTION timeseries_apply() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s timeseries;
BEGIN
    FOR s IN SELECT * FROM timeseries WHERE timeseries_exists(name) ORDER BY name LOOP
        IF NOT timeseries_is_series(s.name) THEN
            PERFORM timeseries_convert(s.name, s.every);
        END IF;
        PERFORM timeseries_accompany(s.name, s.name);
        PERFORM timeseries_ahead(s.name);
        PERFORM timeseries_follow(NULL, s.name);
        PERFORM timeseries_show(s);
    END LOOP;
END
$$;

-- Takes away what would keep a table from being dropped; applying makes it again.
CREATE OR REPLACE FUNCTION timeseries_release() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    s timeseries;
    shown text;
BEGIN
    FOR s IN SELECT * FROM timeseries LOOP
        FOREACH shown IN ARRAY ARRAY[s.sums_as, s.shows_as] LOOP
            IF shown IS NOT NULL THEN
                EXECUTE format('DROP VIEW IF EXISTS %I', shown);
            END IF;
        END LOOP;
        PERFORM timeseries_release_summary(s.name || '_summary');
    END LOOP;
END
$$;

-- Which tables they are. Half a year is 184 days at most; what reads single activities counts on 183.
INSERT INTO timeseries
    (name, projection, every, keeps, shows_as, shows, sums_as, sums, bucket, width)
VALUES
    ('journal_mood_events', 'journal.mood_events', '7 days', '1 year',
     'mood_events',
     'SELECT time, user_id, tenant_id, entry_id AS journal_entry_id, mood, score AS mood_score,'
     ' tags, word_count FROM {table} WHERE active AND mood IS NOT NULL',
     'mood_daily_summary',
     'SELECT {bucket} AS day, tenant_id, user_id, count(*) AS entry_count,'
     ' round(avg(score::numeric), 4) AS avg_mood_score,'
     ' mode() WITHIN GROUP (ORDER BY mood) AS most_common_mood, sum(word_count) AS total_words'
     ' FROM {table} WHERE active AND mood IS NOT NULL GROUP BY 1, 2, 3',
     'day', '1 day'),
    ('accounts_activity_events', 'accounts.activity_events', '7 days', '184 days',
     'user_activity_events',
     'SELECT time, user_id, tenant_id, event_type FROM {table} WHERE true',
     'user_weekly_activity',
     'SELECT {bucket} AS week, tenant_id, user_id,'
     ' count(*) FILTER (WHERE event_type = ''login'') AS login_count,'
     ' count(*) FILTER (WHERE event_type = ''entry_created'') AS entries_created,'
     ' count(*) FILTER (WHERE event_type = ''entry_updated'') AS entries_updated,'
     ' count(*) AS total_events'
     ' FROM {table} GROUP BY 1, 2, 3',
     'week', '7 days'),
    ('journal_insights', 'journal.insights', '1 month', NULL,
     NULL, NULL, NULL, NULL, NULL, NULL)
ON CONFLICT (name) DO UPDATE
SET projection = excluded.projection, every = excluded.every, keeps = excluded.keeps,
    shows_as = excluded.shows_as, shows = excluded.shows, sums_as = excluded.sums_as,
    sums = excluded.sums, bucket = excluded.bucket, width = excluded.width;
