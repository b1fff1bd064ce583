-- migrate:up
SET lock_timeout = '5s';

-- Insights as clients see them; document is the JSON of the answer, time when each was asked for. It
-- is a part of the key, so that the table may lie in chunks of it.
CREATE TABLE journal_insights (
    insight_id    uuid        NOT NULL,
    time          timestamptz NOT NULL,
    user_id       uuid        NOT NULL,
    insight_type  text        NOT NULL,
    start_date    date        NOT NULL,
    end_date      date        NOT NULL,
    state         text        NOT NULL,
    version       integer     NOT NULL,
    document      text        NOT NULL,
    PRIMARY KEY (insight_id, time)
);
CREATE INDEX journal_insights_user ON journal_insights (user_id, time DESC, insight_id DESC);
COMMENT ON TABLE journal_insights IS 'Read model: insights (projection journal.insights)';

ALTER TABLE journal_insights OWNER TO mindstream_project;
ALTER TABLE journal_insights ENABLE ROW LEVEL SECURITY;
ALTER TABLE journal_insights FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON journal_insights FOR SELECT TO mindstream_read
    USING (user_id = nullif(current_setting('mindstream.user_id', true), '')::uuid);
GRANT SELECT ON journal_insights TO mindstream_read;

-- Who looked at which insight on which day, told by the read API, which commands nothing. The
-- scheduler makes events of it and takes it away.
CREATE TABLE insight_views (
    insight_id  uuid NOT NULL,
    user_id     uuid NOT NULL,
    tenant_id   uuid NOT NULL,
    day         date NOT NULL,
    request_id  text NOT NULL,
    PRIMARY KEY (insight_id, day)
);
COMMENT ON TABLE insight_views IS 'Looks at insights that are yet to become events';

ALTER TABLE insight_views ENABLE ROW LEVEL SECURITY;
ALTER TABLE insight_views FORCE ROW LEVEL SECURITY;
CREATE POLICY telling ON insight_views FOR INSERT TO mindstream_read, mindstream_write
    WITH CHECK (true);
CREATE POLICY taking ON insight_views FOR ALL TO mindstream_write USING (true);
GRANT INSERT ON insight_views TO mindstream_read;
GRANT SELECT, INSERT, DELETE ON insight_views TO mindstream_write;

-- migrate:down
SET lock_timeout = '5s';
DROP TABLE insight_views;
DROP TABLE journal_insights;
