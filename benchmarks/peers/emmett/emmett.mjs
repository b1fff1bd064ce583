// Emmett on PostgreSQL as it comes: its event store, its consumer, a projection in one transaction a
// batch. Called with one JSON document on standard input; answers with one line of JSON.
import { randomUUID } from 'node:crypto';
import {
  getPostgreSQLEventStore,
  postgreSQLEventStoreConsumer,
  postgreSQLProjection,
} from '@event-driven-io/emmett-postgresql';
import pg from 'pg';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asked = JSON.parse(Buffer.concat(chunks).toString());

const CREATE = `
CREATE TABLE IF NOT EXISTS peer_entries (
    entry_id uuid PRIMARY KEY, user_id uuid NOT NULL, date date NOT NULL, mood text,
    tags text[] NOT NULL, version integer NOT NULL, document text NOT NULL);
CREATE INDEX IF NOT EXISTS peer_entries_day ON peer_entries (user_id, date, entry_id);`;
// One statement for a batch: what its documentation's raw SQL projections do, set-based.
const UPSERT = `
INSERT INTO peer_entries
SELECT (e->>'entry_id')::uuid, (e->>'user_id')::uuid, (e->>'date')::date, e->>'mood',
       ARRAY(SELECT jsonb_array_elements_text(e->'tags')), 1, e->>'document'
FROM jsonb_array_elements($1::jsonb) AS e
ON CONFLICT (entry_id) DO UPDATE SET date = excluded.date, mood = excluded.mood,
    tags = excluded.tags, version = excluded.version, document = excluded.document`;

const written = (user, day) => {
  const date = new Date(Date.UTC(2000, 0, 1) + day * 86_400_000).toISOString().slice(0, 10);
  return {
    type: 'EntryWritten',
    data: { ...asked.entry, entry_id: randomUUID(), user_id: user, date },
  };
};

async function append() {
  const store = getPostgreSQLEventStore(asked.dsn, { schema: { autoMigration: 'None' } });
  const deadline = performance.now() + (asked.seconds ?? Infinity) * 1000;
  let begun = 0;
  let done = 0;
  const started = performance.now();
  const work = async (user) => {
    for (let day = 0; performance.now() < deadline && begun < (asked.count ?? Infinity); day += 1) {
      begun += 1;
      const event = written(user, day);
      await store.appendToStream(`entry-${event.data.entry_id}`, [event]);
      done += 1;
    }
  };
  await Promise.all(asked.users.map(work));
  const seconds = (performance.now() - started) / 1000;
  await store.close();
  return { events: done, seconds };
}

async function project() {
  const client = new pg.Client({ connectionString: asked.dsn });
  await client.connect();
  await client.query('DROP TABLE IF EXISTS peer_entries');
  await client.query(CREATE);
  await client.end();
  let last = performance.now();
  const projection = postgreSQLProjection({
    name: 'entries',
    canHandle: ['EntryWritten'],
    handle: async (events, { connection }) => {
      const rows = events.map(({ data }) => ({ ...data, document: JSON.stringify(data) }));
      await connection.client.query(UPSERT, [JSON.stringify(rows)]);
      last = performance.now(); // that nothing is left is found later, and not counted
    },
  });
  const consumer = postgreSQLEventStoreConsumer({
    connectionString: asked.dsn,
    stopWhen: { noMessagesLeft: true },
    pulling: { batchSize: asked.batch },
  });
  consumer.projector({ processorId: `entries-${asked.run}`, projection, startFrom: 'BEGINNING' });
  const started = performance.now();
  await consumer.start();
  await consumer.close();
  return { seconds: (last - started) / 1000 };
}

async function prepare() {
  const store = getPostgreSQLEventStore(asked.dsn);
  await store.schema.migrate();
  await store.close();
  return {};
}

const found = await { append, project, prepare }[asked.what]();
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
