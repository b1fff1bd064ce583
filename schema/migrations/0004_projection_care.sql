-- migrate:up
SET lock_timeout = '5s';

-- Paused by an operator: the projector leaves it alone until resumed.
ALTER TABLE projection_checkpoints ADD COLUMN paused boolean NOT NULL DEFAULT false;

-- Generations that are not live: one that grows (building) and one that is kept for a rollback.
-- Each has a table of its own; a kept one has one partition, at the position where it stopped.
CREATE TABLE projection_generations (
    name        text COLLATE "C" NOT NULL,
    generation  integer     NOT NULL,
    version     integer     NOT NULL,
    state       text        NOT NULL CHECK (state IN ('building', 'kept')),
    table_name  text        NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, generation)
);
CREATE TABLE projection_generation_partitions (
    name        text COLLATE "C" NOT NULL,
    generation  integer     NOT NULL,
    partition   integer     NOT NULL,
    partitions  integer     NOT NULL,
    position    bigint      NOT NULL DEFAULT 0,
    events_done bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (name, generation, partition),
    FOREIGN KEY (name, generation) REFERENCES projection_generations ON DELETE CASCADE
) WITH (fillfactor = 50);
ALTER TABLE projection_generations OWNER TO mindstream_project;
ALTER TABLE projection_generation_partitions OWNER TO mindstream_project;
GRANT SELECT ON projection_generations, projection_generation_partitions
    TO mindstream_read, mindstream_write;

-- Events that a projection could not fold. Later events of the same stream queue behind them, in
-- order; nothing else waits. An item is settled when its stream has caught up.
CREATE TABLE projection_quarantine (
    id              uuid        NOT NULL PRIMARY KEY,
    projection      text COLLATE "C" NOT NULL,
    partition       integer     NOT NULL DEFAULT 0,
    stream_id       text COLLATE "C" NOT NULL,
    position        bigint      NOT NULL,
    topic           text COLLATE "C" NOT NULL,
    error           text        NOT NULL,
    attempts        integer     NOT NULL DEFAULT 1,
    state           text        NOT NULL
        CHECK (state IN ('retrying', 'parked', 'discarded', 'released')),
    settled         boolean     NOT NULL DEFAULT false,
    reason          text,
    next_try_at     timestamptz NOT NULL DEFAULT now(),
    first_failed_at timestamptz NOT NULL DEFAULT now(),
    last_failed_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (projection, position)
);
CREATE INDEX projection_quarantine_open ON projection_quarantine (projection, stream_id)
    WHERE NOT settled;
ALTER TABLE projection_quarantine OWNER TO mindstream_project;
GRANT SELECT ON projection_quarantine TO mindstream_read, mindstream_write;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE projection_quarantine, projection_generation_partitions, projection_generations;
ALTER TABLE projection_checkpoints DROP COLUMN paused;
