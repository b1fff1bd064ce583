-- migrate:up
SET lock_timeout = '5s';

-- How far each reaction is. Not among the projections' checkpoints: nothing that builds a read model
-- anew, goes back to an older one or forgets one can reach these rows.
CREATE TABLE reactions (
    name              text COLLATE "C" NOT NULL PRIMARY KEY,
    position          bigint      NOT NULL,
    began_at          bigint      NOT NULL,
    paused            boolean     NOT NULL DEFAULT false,
    status            text        NOT NULL DEFAULT 'catching_up',
    owner             text,
    error             text,
    advanced_at       timestamptz NOT NULL DEFAULT now(),
    heartbeat_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON COLUMN reactions.began_at IS 'The head when it was first deployed: what lies before is not reacted to';

-- What was done. An effect and the position behind it commit together, so that after a crash only
-- what is not known to be done is done again, under the same key.
CREATE TABLE reaction_effects (
    reaction    text COLLATE "C" NOT NULL,
    key         uuid        NOT NULL,
    position    bigint      NOT NULL,
    subject_id  uuid,
    effect      jsonb       NOT NULL,
    done_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reaction, key)
);
CREATE INDEX reaction_effects_subject ON reaction_effects (subject_id)
    WHERE subject_id IS NOT NULL;
CREATE INDEX reaction_effects_age ON reaction_effects (done_at);
COMMENT ON COLUMN reaction_effects.effect IS 'Ids and names only, never an address or a text';

ALTER TABLE reactions OWNER TO mindstream_project;
ALTER TABLE reaction_effects OWNER TO mindstream_project;
GRANT SELECT ON reactions TO mindstream_read, mindstream_write;
-- Operators pause; what becomes of an erased person's effects is for the writer to say.
GRANT UPDATE (paused) ON reactions TO mindstream_write;
GRANT SELECT, DELETE ON reaction_effects TO mindstream_write;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE reaction_effects, reactions;
DELETE FROM projection_quarantine q
WHERE NOT EXISTS (SELECT FROM projection_checkpoints c WHERE c.name = q.projection);
