-- migrate:up
SET lock_timeout = '5s';

-- How far each projection is. A batch's rows and this row commit together; the row's lock is taken
-- first, so that it also fences: of two writers one finds a position that it did not expect.
CREATE TABLE projection_checkpoints (
    name              text COLLATE "C" NOT NULL,
    partition         integer     NOT NULL DEFAULT 0,
    version           integer     NOT NULL,
    generation        integer     NOT NULL DEFAULT 1,
    position          bigint      NOT NULL DEFAULT 0,
    status            text        NOT NULL DEFAULT 'catching_up',
    owner             text,
    error             text,
    batch_seconds     double precision NOT NULL DEFAULT 0,
    events_per_second double precision NOT NULL DEFAULT 0,
    rebuild           jsonb,
    advanced_at       timestamptz NOT NULL DEFAULT now(),
    heartbeat_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, partition)
) WITH (fillfactor = 50);
ALTER TABLE projection_checkpoints OWNER TO mindstream_project;
GRANT SELECT ON projection_checkpoints TO mindstream_read, mindstream_write;
GRANT CREATE ON SCHEMA public TO mindstream_project;

-- Makes an empty table of the same columns, constraints, indexes, row-level security and grants, in
-- which a rebuild grows while the live one serves.
CREATE FUNCTION mirror_table(live regclass, shadow text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING ALL)', shadow, live);
    FOR r IN SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = live LOOP
        IF r.relrowsecurity THEN
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', shadow);
        END IF;
        IF r.relforcerowsecurity THEN
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', shadow);
        END IF;
    END LOOP;
    FOR r IN
        SELECT p.polname, p.polpermissive, p.polcmd,
               pg_get_expr(p.polqual, p.polrelid) AS qual,
               pg_get_expr(p.polwithcheck, p.polrelid) AS with_check,
               coalesce((SELECT string_agg(quote_ident(rolname), ', ') FROM pg_roles
                         WHERE oid = ANY (p.polroles)), 'PUBLIC') AS roles
        FROM pg_policy p WHERE p.polrelid = live
    LOOP
        EXECUTE format('CREATE POLICY %I ON %I AS %s FOR %s TO %s %s %s', r.polname, shadow,
            CASE WHEN r.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE r.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                          WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
            r.roles,
            CASE WHEN r.qual IS NULL THEN '' ELSE format('USING (%s)', r.qual) END,
            CASE WHEN r.with_check IS NULL THEN ''
                 ELSE format('WITH CHECK (%s)', r.with_check) END);
    END LOOP;
    FOR r IN
        SELECT coalesce(quote_ident(g.rolname), 'PUBLIC') AS grantee, a.privilege_type
        FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee
        WHERE c.oid = live AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s', r.privilege_type, shadow, r.grantee);
    END LOOP;
END
$$;

-- migrate:down
SET lock_timeout = '5s';
DROP FUNCTION mirror_table;
DROP TABLE projection_checkpoints;
