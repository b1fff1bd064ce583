-- TimescaleDB Community: hypertables, continuous aggregates over them, and policies. A hypertable
-- with continuous aggregates cannot have row-level security: the roles of the APIs read the views,
-- which hold to the same conditions, and have no right to what lies below.

CREATE OR REPLACE FUNCTION timeseries_form() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'community'
$$;

-- The policies stay, to be read by timeseries_condition, and so that another form has them.
CREATE OR REPLACE FUNCTION timeseries_close(relation_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sums IS NOT NULL FROM timeseries WHERE name = split_part(relation_name, '__', 1)) THEN
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', relation_name);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', relation_name);
        EXECUTE format('REVOKE ALL ON %I FROM mindstream_read, mindstream_write', relation_name);
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION timeseries_is_continuous(relation_name text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM timescaledb_information.continuous_aggregates
                   WHERE view_name = relation_name AND view_schema = 'public')
$$;

CREATE OR REPLACE FUNCTION timeseries_summarise(relation_name text, s timeseries) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE MATERIALIZED VIEW %I'
        ' WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS %s WITH NO DATA',
        relation_name || '_summary',
        replace(replace(s.sums, '{table}', format('%I', relation_name)), '{bucket}',
                format('time_bucket(%L::interval, time)', s.width)));
END
$$;

CREATE OR REPLACE FUNCTION timeseries_release_summary(relation_name text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    IF timeseries_is_continuous(relation_name) THEN
        EXECUTE format('DROP MATERIALIZED VIEW %I', relation_name);
    END IF;
END
$$;

-- At once, and not with the next refresh.
CREATE OR REPLACE FUNCTION timeseries_forget_summary(relation_name text, users uuid[]) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT materialization_hypertable_schema AS s, materialization_hypertable_name AS t
             FROM timescaledb_information.continuous_aggregates
             WHERE view_name = relation_name AND view_schema = 'public'
    LOOP
        EXECUTE format('DELETE FROM %I.%I WHERE user_id = ANY ($1)', r.s, r.t) USING users;
    END LOOP;
END
$$;

-- The policies are the live generation's: aggregates are refreshed hourly as far back as rows are
-- kept, old chunks of activity are compressed, and rows go by themselves two weeks after the scheduler
-- should have dropped them.
CREATE OR REPLACE FUNCTION timeseries_follow(before text, live text) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    s timeseries;
    summary regclass := to_regclass(format('%I', live || '_summary'));
BEGIN
    IF before IS NOT NULL AND timeseries_exists(before || '_summary') THEN
        PERFORM remove_continuous_aggregate_policy(
            format('%I', before || '_summary')::regclass, if_exists => true);
        PERFORM remove_retention_policy(format('%I', before)::regclass, if_exists => true);
        PERFORM remove_compression_policy(format('%I', before)::regclass, if_exists => true);
    END IF;
    SELECT * INTO s FROM timeseries WHERE name = live;
    IF s.keeps IS NOT NULL AND timeseries_is_series(live) THEN
        PERFORM add_retention_policy(format('%I', live)::regclass, s.keeps + interval '14 days',
                                     if_not_exists => true,
                                     initial_start => now() + interval '7 days');
        PERFORM add_continuous_aggregate_policy(
            summary, start_offset => s.keeps, end_offset => interval '1 hour',
            schedule_interval => interval '1 hour', if_not_exists => true);
        -- Rows that are only added, and hardly looked at by themselves later.
        IF live = 'accounts_activity_events' THEN
            EXECUTE format(
                'ALTER TABLE %I SET (timescaledb.compress,'
                ' timescaledb.compress_segmentby = ''user_id'','
                ' timescaledb.compress_orderby = ''time DESC, position'')', live);
            PERFORM add_compression_policy(format('%I', live)::regclass, interval '1 month',
                                           if_not_exists => true);
        END IF;
    END IF;
END
$$;

-- No further back than there are rows: what was dropped must stay summed up. Where the scheduler was
-- away for so long that the policy dropped rows, the first bucket may have lost some of them.
CREATE OR REPLACE FUNCTION timeseries_refreshes(
    relation_name text, from_ timestamptz, to_ timestamptz
) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    s record;
    oldest timestamptz;
    first timestamptz;
    last timestamptz;
BEGIN
    SELECT t.*, h.summed_before INTO s
    FROM timeseries t JOIN timeseries_horizons h ON h.series = t.name
    WHERE h.relation = format('%I', relation_name)::regclass AND t.sums IS NOT NULL;
    SELECT min(range_start) INTO oldest FROM timescaledb_information.chunks
    WHERE hypertable_name = relation_name AND hypertable_schema = 'public';
    IF s.name IS NULL OR oldest IS NULL THEN
        RETURN;
    END IF;
    first := time_bucket(s.width, oldest);
    IF s.summed_before > '-infinity' AND s.summed_before < now() - s.keeps - interval '14 days' THEN
        first := first + s.width;
    END IF;
    first := greatest(first, s.summed_before, time_bucket(s.width, from_));
    last := time_bucket(s.width, coalesce(to_, now() + interval '1 day')) + s.width;
    IF first < last THEN
        RETURN NEXT format('CALL refresh_continuous_aggregate(%L, %L::timestamptz, %L::timestamptz)',
                           format('%I', relation_name || '_summary'), first, last);
    END IF;
END
$$;
