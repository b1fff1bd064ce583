-- What both forms with TimescaleDB share: a series is a hypertable, which makes its chunks itself.

-- A table like the live one, without rows.
CREATE OR REPLACE FUNCTION timeseries_empty(live text, shadow text, every interval) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', shadow, live);
    PERFORM mirror_security(format('%I', live)::regclass, shadow);
    PERFORM create_hypertable(format('%I', shadow)::regclass, 'time', chunk_time_interval => every,
                              create_default_indexes => false);
    PERFORM timeseries_close(shadow);
END
$$;

CREATE OR REPLACE FUNCTION timeseries_is_series(relation_name text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
                   WHERE hypertable_name = relation_name AND hypertable_schema = 'public')
$$;

CREATE OR REPLACE FUNCTION timeseries_ahead(relation_name text) RETURNS void LANGUAGE sql AS $$
$$;

-- Drops the rows before a time, which is the start of a chunk.
CREATE OR REPLACE FUNCTION timeseries_drop_before(relation_name text, before timestamptz)
    RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM drop_chunks(format('%I', relation_name)::regclass, older_than => before);
END
$$;
