-- The form without TimescaleDB: native range partitions, made ahead, with a default partition so that
-- nothing is ever refused.

CREATE OR REPLACE FUNCTION timeseries_form() RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'none'
$$;

-- The partition for what no other takes. Its name begins with the number that the table had when it was
-- made: that stays when the table is renamed, and is another one after a dump was restored.
CREATE OR REPLACE FUNCTION timeseries_rest(relation regclass) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT c.relname::text FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partdefid
    WHERE p.partrelid = relation
$$;

-- A table like the live one, without rows.
CREATE OR REPLACE FUNCTION timeseries_empty(live text, shadow text, every interval) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    rest text;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) PARTITION BY RANGE (time)', shadow, live);
    PERFORM mirror_security(format('%I', live)::regclass, shadow);
    rest := format('series_%s_rest', format('%I', shadow)::regclass::oid);
    WHILE timeseries_exists(rest) LOOP  -- a restored table may have had that number
        rest := format('series_%s_rest', floor(random() * 1e9) + 1e10);
    END LOOP;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', rest, shadow);
    PERFORM timeseries_close(rest);
END
$$;

-- Whoever may read the table reads its partitions through it, and not by themselves.
CREATE OR REPLACE FUNCTION timeseries_close(partition_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition_name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition_name);
END
$$;

CREATE OR REPLACE FUNCTION timeseries_is_series(relation_name text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
    SELECT relkind = 'p' FROM pg_class WHERE oid = format('%I', relation_name)::regclass
$$;

-- Makes the partitions of the next weeks, and those of what lies in the default one.
CREATE OR REPLACE FUNCTION timeseries_ahead(relation_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of regclass := format('%I', relation_name)::regclass;
    rest text := timeseries_rest(of);
    dropped timestamptz;
    step interval;
    start timestamptz;
    made text;
BEGIN
    SELECT h.dropped_before, t.every INTO STRICT dropped, step
    FROM timeseries_horizons h JOIN timeseries t ON t.name = h.series WHERE h.relation = of;
    FOR start IN EXECUTE format(
        'SELECT DISTINCT timeseries_floor($1, time) FROM %I WHERE time >= $2'
        ' UNION SELECT generate_series(timeseries_floor($1, now()), now() + interval ''30 days'', $1)'
        ' ORDER BY 1', rest) USING step, dropped
    LOOP
        made := left(rest, -4) || to_char(start AT TIME ZONE 'UTC', 'YYYYMMDD');
        CONTINUE WHEN timeseries_exists(made);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                       made, relation_name);
        PERFORM timeseries_close(made);
        EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', relation_name);
        EXECUTE format('WITH moved AS (DELETE FROM %I WHERE time >= $1 AND time < $2 RETURNING *)'
                       ' INSERT INTO %I SELECT * FROM moved', rest, made)
        USING start, start + step;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       relation_name, made, start, start + step);
    END LOOP;
END
$$;

-- Drops the rows before a time, which is the start of a chunk.
CREATE OR REPLACE FUNCTION timeseries_drop_before(relation_name text, before timestamptz)
    RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of regclass := format('%I', relation_name)::regclass;
    old regclass;
BEGIN
    FOR old IN
        SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
               LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)') m
        WHERE i.inhparent = of AND m[1]::timestamptz <= before
    LOOP
        EXECUTE format('DROP TABLE %s', old);
    END LOOP;
    EXECUTE format('DELETE FROM %I WHERE time < $1', timeseries_rest(of)) USING before;
END
$$;
