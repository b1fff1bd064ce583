-- migrate:up
SET lock_timeout = '5s';

-- What proves an API key. The key itself is nowhere; what it may do is told by its stream. A row
-- without a stream comes from a request that did not finish: it opens nothing, and is swept.
CREATE TABLE accounts_key_hashes (
    key_id      uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    hash        bytea       NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX accounts_key_hashes_user ON accounts_key_hashes (user_id);
COMMENT ON COLUMN accounts_key_hashes.hash IS 'SHA-256 of a key of 256 random bits';

-- How often each key was used in each month (UTC), so that a quota outlives every cache.
CREATE TABLE accounts_key_uses (
    key_id        uuid        NOT NULL REFERENCES accounts_key_hashes ON DELETE CASCADE,
    user_id       uuid        NOT NULL,
    month         date        NOT NULL,
    uses          bigint      NOT NULL,
    last_used_at  timestamptz NOT NULL,
    PRIMARY KEY (key_id, month)
);

ALTER TABLE accounts_key_hashes ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_key_hashes FORCE ROW LEVEL SECURITY;
ALTER TABLE accounts_key_uses ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_key_uses FORCE ROW LEVEL SECURITY;
CREATE POLICY writer ON accounts_key_hashes TO mindstream_write USING (true);
CREATE POLICY writer ON accounts_key_uses TO mindstream_write USING (true);
CREATE POLICY own ON accounts_key_uses FOR SELECT TO mindstream_read
    USING (user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
GRANT SELECT, INSERT, UPDATE, DELETE ON accounts_key_hashes, accounts_key_uses TO mindstream_write;
GRANT SELECT ON accounts_key_uses TO mindstream_read;
GRANT SELECT ON accounts_key_hashes TO mindstream_project;
GRANT SELECT, INSERT, UPDATE ON accounts_key_uses TO mindstream_project;

-- The reader may ask which key a hash belongs to and note that it was used, and nothing more: so
-- these two work as the projector, whom policies do not bind.
CREATE FUNCTION accounts_key_of(wanted bytea, this_month date)
RETURNS TABLE (key_id uuid, uses bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT h.key_id, coalesce(u.uses, 0)
    FROM accounts_key_hashes h
    LEFT JOIN accounts_key_uses u ON u.key_id = h.key_id AND u.month = this_month
    WHERE h.hash = wanted
$$;

CREATE FUNCTION accounts_count_key_uses(ids uuid[], months date[], counts bigint[], at timestamptz)
RETURNS TABLE (key_id uuid, month date, uses bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO accounts_key_uses AS u (key_id, user_id, month, uses, last_used_at)
    SELECT h.key_id, h.user_id, c.month, c.uses, at
    FROM unnest(ids, months, counts) AS c (key_id, month, uses)
    JOIN accounts_key_hashes h ON h.key_id = c.key_id
    ORDER BY h.key_id, c.month
    ON CONFLICT ON CONSTRAINT accounts_key_uses_pkey DO UPDATE
    SET uses = u.uses + excluded.uses, last_used_at = greatest(u.last_used_at, excluded.last_used_at)
    RETURNING u.key_id, u.month, u.uses
$$;

-- The keys as their owners see them; document is JSON of the key.
CREATE TABLE accounts_keys (
    key_id           uuid        NOT NULL PRIMARY KEY,
    user_id          uuid        NOT NULL,
    state            text        NOT NULL,
    allowed_origins  text[]      NOT NULL,
    expires_at       timestamptz,
    created_at       timestamptz NOT NULL,
    version          integer     NOT NULL,
    document         text        NOT NULL
);
CREATE INDEX accounts_keys_user ON accounts_keys (user_id, created_at, key_id);
COMMENT ON TABLE accounts_keys IS 'Read model: API keys as their streams tell them (projection accounts.keys)';
ALTER TABLE accounts_keys OWNER TO mindstream_project;
ALTER TABLE accounts_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts_keys FOR SELECT TO mindstream_read
    USING (user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
GRANT SELECT ON accounts_keys TO mindstream_read;

-- A preflight names no key: it is answered to whatever origin some key lists. Not in SQL itself, so
-- that it finds the table which has the name when it runs, after a rebuild too.
CREATE FUNCTION accounts_key_origins() RETURNS TABLE (origin text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT DISTINCT o.origin FROM accounts_keys k, unnest(k.allowed_origins) AS o (origin)
    WHERE k.state = 'active' AND coalesce(k.expires_at > now(), true);
END
$$;

REVOKE EXECUTE ON FUNCTION accounts_key_of, accounts_count_key_uses, accounts_key_origins
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accounts_key_of, accounts_count_key_uses, accounts_key_origins
    TO mindstream_read, mindstream_write;
ALTER FUNCTION accounts_key_of OWNER TO mindstream_project;
ALTER FUNCTION accounts_count_key_uses OWNER TO mindstream_project;
ALTER FUNCTION accounts_key_origins OWNER TO mindstream_project;

-- migrate:down
SET lock_timeout = '5s';
DROP FUNCTION accounts_key_origins, accounts_count_key_uses, accounts_key_of;
DROP TABLE accounts_keys, accounts_key_uses, accounts_key_hashes;
