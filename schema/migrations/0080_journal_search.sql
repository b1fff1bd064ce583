-- migrate:up
SET lock_timeout = '5s';

-- The entries as a search finds them. words has each word of an entry, folded, under its owner's
-- mark: so that one person's search reads nothing of the others' lists in the index.
CREATE TABLE journal_search (
    entry_id    uuid        NOT NULL PRIMARY KEY,
    user_id     uuid        NOT NULL,
    date        date        NOT NULL,
    mood        text,
    tags        text[]      STORAGE MAIN NOT NULL,
    is_private  boolean     NOT NULL,
    state       text        NOT NULL,
    title       text        NOT NULL,
    content     text        NOT NULL,
    words       tsvector    NOT NULL
)
-- What is counted and filtered stays together; texts and words are read only for what is shown.
WITH (toast_tuple_target = 128);
CREATE INDEX journal_search_words ON journal_search USING gin (words);
CREATE INDEX journal_search_user ON journal_search (user_id);

CREATE TABLE journal_vocabulary (
    user_id     uuid        NOT NULL,
    word        text COLLATE "C" NOT NULL,
    backwards   text COLLATE "C" NOT NULL,
    en          text COLLATE "C" NOT NULL,
    pt          text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, word)
);
CREATE INDEX journal_vocabulary_backwards ON journal_vocabulary (user_id, backwards);
CREATE INDEX journal_vocabulary_en ON journal_vocabulary (user_id, en);
CREATE INDEX journal_vocabulary_pt ON journal_vocabulary (user_id, pt);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['journal_search', 'journal_vocabulary'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own ON %I USING ('
            'user_id = nullif(current_setting(''mindstream.user_id'', true), '''')::uuid)', name);
        EXECUTE format('GRANT SELECT ON %I TO mindstream_read', name);
        EXECUTE format('ALTER TABLE %I OWNER TO mindstream_project', name);
    END LOOP;
END
$$;
COMMENT ON TABLE journal_search IS 'Read model: entries as a search finds them (projection journal.search)';
COMMENT ON TABLE journal_vocabulary IS 'Read model: the words each person has written (projection journal.vocabulary)';

-- All that a search needs to know of its hits: how many, the facets of all, and a page of them by
-- score, then date. Under row-level security no index of words may be used, as the operator might
-- tell of rows that the policy hides; so this runs as the owner of the table and holds the policy's
-- own condition. What is shown of the hits is read under the policy.
--   query   what must match; a bonus query that matches too adds its points to the score
--   place   where the page before ended: its last score, date and id, or nulls
CREATE FUNCTION journal_search_find(
    query text, base integer, bonuses text[], points integer[],
    only_mood text, all_tags text[], since date, until date, with_private boolean,
    place_score integer, place_date date, place_id uuid, size bigint
) RETURNS TABLE (total bigint, moods jsonb, tags jsonb, page jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
SET work_mem = '64MB' SET jit = off AS $$
#variable_conflict use_column
DECLARE
    me constant uuid := nullif(current_setting('mindstream.user_id', true), '')::uuid;
BEGIN
    RETURN QUERY
    WITH hits AS MATERIALIZED (
        SELECT s.entry_id, s.date, s.mood, s.tags
        FROM journal_search s
        WHERE s.words @@ query::tsquery AND s.user_id = me
          AND (with_private OR NOT s.is_private)
          AND (only_mood IS NULL OR s.mood = only_mood)
          AND (all_tags IS NULL OR s.tags @> all_tags)
          AND (since IS NULL OR s.date >= since)
          AND (until IS NULL OR s.date <= until)
    ), bonus AS (
        SELECT s.entry_id, sum(b.points)::integer AS points
        FROM unnest(bonuses, points) AS b (query, points)
        CROSS JOIN LATERAL (
            SELECT e.entry_id FROM journal_search e
            WHERE e.words @@ b.query::tsquery AND e.user_id = me
        ) AS s
        GROUP BY s.entry_id
    ), scored AS (
        SELECT h.entry_id, h.date, base + coalesce(b.points, 0) AS score
        FROM hits h LEFT JOIN bonus b USING (entry_id)
    )
    SELECT (SELECT count(*) FROM hits),
           (SELECT coalesce(jsonb_agg(jsonb_build_array(m.mood, m.count)
                                      ORDER BY m.count DESC, m.mood COLLATE "C"), '[]')
            FROM (SELECT h.mood, count(*) FROM hits h WHERE h.mood IS NOT NULL GROUP BY 1) AS m),
           (SELECT coalesce(jsonb_agg(jsonb_build_array(t.tag, t.count)), '[]')
            FROM (SELECT u.tag, count(*) FROM (SELECT unnest(h.tags) AS tag FROM hits h) AS u
                  GROUP BY 1 ORDER BY 2 DESC, u.tag COLLATE "C" LIMIT 20) AS t),
           (SELECT coalesce(jsonb_agg(jsonb_build_array(p.score, p.date, p.entry_id)), '[]')
            FROM (SELECT * FROM scored s
                  WHERE place_id IS NULL
                     OR (s.score, s.date, s.entry_id) < (place_score, place_date, place_id)
                  ORDER BY s.score DESC, s.date DESC, s.entry_id DESC LIMIT size) AS p);
END
$$;
REVOKE ALL ON FUNCTION journal_search_find FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal_search_find TO mindstream_read;
ALTER FUNCTION journal_search_find OWNER TO mindstream_project;

-- migrate:down
SET lock_timeout = '5s';
DROP FUNCTION journal_search_find;
DROP TABLE journal_vocabulary, journal_search;
