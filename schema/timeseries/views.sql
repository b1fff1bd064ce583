-- Summaries of the forms without continuous aggregates: plain views.

CREATE OR REPLACE FUNCTION timeseries_is_continuous(relation_name text) RETURNS boolean LANGUAGE sql AS $$
    SELECT false
$$;

CREATE OR REPLACE FUNCTION timeseries_summarise(relation_name text, s timeseries) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE VIEW %I AS %s', relation_name || '_summary',
        replace(replace(s.sums, '{table}', format('%I', relation_name)), '{bucket}',
                format('date_bin(%L, time, %L::timestamptz)', s.width, '2000-01-03T00:00:00Z')));
END
$$;

CREATE OR REPLACE FUNCTION timeseries_release_summary(relation_name text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP VIEW IF EXISTS %I', relation_name);
END
$$;

-- A view forgets with its rows.
CREATE OR REPLACE FUNCTION timeseries_forget_summary(relation_name text, users uuid[]) RETURNS void
    LANGUAGE sql AS $$
$$;

-- Nothing runs on a table by itself: the scheduler does it all.
CREATE OR REPLACE FUNCTION timeseries_follow(before text, live text) RETURNS void LANGUAGE sql AS $$
$$;

-- A view is always up to date.
CREATE OR REPLACE FUNCTION timeseries_refreshes(
    relation_name text, from_ timestamptz, to_ timestamptz
) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT NULL::text WHERE false
$$;
