-- TimescaleDB under the Apache licence: hypertables with row-level security, and plain views.

CREATE OR REPLACE FUNCTION timeseries_form() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'apache'
$$;

-- Row-level security is as the mirrored table has it.
CREATE OR REPLACE FUNCTION timeseries_close(relation_name text) RETURNS void LANGUAGE sql AS $$
$$;
