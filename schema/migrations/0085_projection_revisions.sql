-- migrate:up
SET lock_timeout = '5s';

-- When rows of a projection last changed otherwise than by the next event: by a swap, a repair, or
-- an event let out of quarantine. What others keep of it from before that is good no more.
CREATE TABLE projection_revisions (
    name      text COLLATE "C" NOT NULL PRIMARY KEY,
    revision  uuid NOT NULL DEFAULT gen_random_uuid()
);
ALTER TABLE projection_revisions OWNER TO mindstream_project;
GRANT SELECT ON projection_revisions TO mindstream_read, mindstream_write;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE projection_revisions;
