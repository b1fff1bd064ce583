// PostgreSQL with TimescaleDB in WebAssembly, for one client at a time on a loopback port.
//
// All clients share one session, one after the other: what a client left behind is discarded before
// the next one comes.
import { PGlite } from '@electric-sql/pglite'
import { timescaledb } from '@electric-sql/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'

class Server extends PGLiteSocketServer {
  before = Promise.resolve()

  async attachSocketToNewHandler(socket, info) {
    this.before = this.before.then(async () => {
      await this.db.exec('ROLLBACK')
      await this.db.exec('DISCARD ALL')
      // The extension's script leaves its own in this one session.
      await this.db.exec('SET search_path TO public')
      await super.attachSocketToNewHandler(socket, info)
    })
    await this.before
  }
}

const db = await PGlite.create({ extensions: { timescaledb } })
await db.exec('CREATE EXTENSION timescaledb')
const server = new Server({ db, host: '127.0.0.1', port: Number(process.argv[2]) })
await server.start()
for (const name of ['SIGTERM', 'SIGINT']) {
  process.on(name, async () => {
    await server.stop()
    process.exit(0)
  })
}
