-- Who may do what. The owner (whoever runs migrations) makes everything; these three use it:
--   mindstream_write    write API, worker, scheduler: appends events, keeps credentials
--   mindstream_read     read API: sees only the rows that row-level security lets it see
--   mindstream_project  projector: fills read models for everybody, so it bypasses that security
-- Roles belong to the whole server and may be there already, from another database or by an
-- administrator's hand (with passwords, which no migration sets).

-- migrate:up
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['mindstream_write', 'mindstream_read', 'mindstream_project'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
                EXECUTE format(
                    'CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', name
                );
            END IF;
        EXCEPTION
            -- Another database's migration made it between the look and the making.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;

    IF NOT (SELECT rolbypassrls FROM pg_roles WHERE rolname = 'mindstream_project') THEN
        ALTER ROLE mindstream_project BYPASSRLS;
    END IF;
    IF EXISTS (
        SELECT FROM pg_roles
        WHERE rolname IN ('mindstream_write', 'mindstream_read') AND rolbypassrls
    ) THEN
        RAISE EXCEPTION 'mindstream_write and mindstream_read must not bypass row-level security';
    END IF;

    -- The writer may become the projector for one statement, and has none of its rights before.
    IF NOT pg_has_role('mindstream_write', 'mindstream_project', 'MEMBER') THEN
        IF current_setting('server_version_num')::int >= 160000 THEN
            GRANT mindstream_project TO mindstream_write WITH INHERIT FALSE, SET TRUE;
        ELSE
            -- Before PostgreSQL 16 inheritance belongs to the member, not to the membership.
            ALTER ROLE mindstream_write NOINHERIT;
            GRANT mindstream_project TO mindstream_write;
        END IF;
    END IF;
    -- Likewise the reader, which has fewer rights: one address for writing is enough for all roles.
    IF NOT pg_has_role('mindstream_write', 'mindstream_read', 'MEMBER') THEN
        IF current_setting('server_version_num')::int >= 160000 THEN
            GRANT mindstream_read TO mindstream_write WITH INHERIT FALSE, SET TRUE;
        ELSE
            GRANT mindstream_read TO mindstream_write;
        END IF;
    END IF;
END
$$;

-- PostgreSQL 15 and later give this right to nobody; older clusters that were upgraded keep it.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO mindstream_write, mindstream_read, mindstream_project;

-- migrate:down
SET LOCAL lock_timeout = '5s';

REVOKE USAGE ON SCHEMA public FROM mindstream_write, mindstream_read, mindstream_project;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['mindstream_write', 'mindstream_read', 'mindstream_project'] LOOP
        BEGIN
            EXECUTE format('DROP ROLE IF EXISTS %I', name);
        EXCEPTION
            -- Another database of this server still uses it.
            WHEN dependent_objects_still_exist THEN NULL;
        END;
    END LOOP;
END
$$;
