import { chmod, lstat, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Server } from 'node:net';
import { VifdError } from '../../errors.js';
import { Peer } from './peer.js';
import type { ModelStore } from './store.js';

/** The most connections of a socket. A machine has a few hundred domains, and each has a few connections. */
const CONNECTIONS_MAX = 1024;

/** Serves a `ModelStore` on unix sockets, in xenstored's protocol, so that libxenstore and its tools work with it. */
export class StoreServer implements AsyncDisposable {
  readonly #store: ModelStore;
  readonly #servers = new Set<Server>();
  readonly #peers = new Set<Peer>();

  constructor(store: ModelStore) {
    this.#store = store;
  }

  /**
   * Listens at `path`; a client that connects there is `domid`. The socket of a dead server is replaced.
   * @throws VifdError ERR_ARGUMENT if the path is in use or cannot be listened on.
   */
  async listen(path: string, domid = 0): Promise<void> {
    if (await isStale(path)) await unlink(path);
    const server = createServer((socket) => {
      if (!this.#store.running) return void socket.destroy();
      const peer: Peer = new Peer(this.#store, domid, socket, () => this.#peers.delete(peer));
      this.#peers.add(peer);
    });
    server.maxConnections = CONNECTIONS_MAX;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        const message = `The store cannot listen at ${path}: ${cause.message}.`;
        reject(new VifdError('ERR_ARGUMENT', message, { cause }));
      });
      server.listen(path, resolve);
    });
    this.#servers.add(server);
    // A process that can connect acts as the domain, so only this user may.
    await chmod(path, 0o600);
  }

  /** Ends all connections and removes the sockets. The store stays as it is. Idempotent. */
  async close(): Promise<void> {
    const closed = [...this.#servers].map((server) => new Promise((resolve) => server.close(resolve)));
    this.#servers.clear();
    for (const peer of this.#peers) peer.close();
    await Promise.all(closed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Whether there is a socket on which no process listens. */
async function isStale(path: string): Promise<boolean> {
  try {
    if (!(await lstat(path)).isSocket()) return false;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
  return new Promise((resolve) => {
    const probe = createConnection({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', () => resolve(true));
  });
}
