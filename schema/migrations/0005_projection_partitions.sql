-- migrate:up
SET lock_timeout = '5s';

-- Views that were begun with one checkpoint and have four partitions now: each goes on where all of
-- them were together.
INSERT INTO projection_checkpoints (name, partition, version, generation, position, status, paused)
SELECT name, index, version, generation, position, status, paused
FROM projection_checkpoints c, generate_series(1, 3) AS more (index)
WHERE name IN ('journal.entries', 'journal.days', 'journal.tags')
  AND c.partition = 0
ON CONFLICT DO NOTHING;
UPDATE projection_quarantine SET partition = abs(hashtextextended(stream_id, 0) % 4)
WHERE projection IN ('journal.entries', 'journal.days', 'journal.tags');

-- migrate:down
SET lock_timeout = '5s';
-- What some partitions include beyond the hindmost cannot be taken back: folding it twice would be
-- wrong, so the way down is open only where all are together.
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM projection_checkpoints GROUP BY name
               HAVING min(position) <> max(position)) THEN
        RAISE EXCEPTION 'partitions of a projection are at different positions: let them meet first';
    END IF;
END
$$;
DELETE FROM projection_checkpoints WHERE partition > 0;
UPDATE projection_quarantine SET partition = 0;
