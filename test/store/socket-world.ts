import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modelStoreClient } from '../../lib/testing/xenstored/client.js';
import { StoreServer } from '../../lib/testing/xenstored/server.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { type OpenStoreOptions, openStore, type StoreClient } from '../../lib/xen/store/client.js';
import type { StoreWorld } from './contract.js';

export async function inProcessWorld(): Promise<StoreWorld> {
  const store = new ModelStore();
  return { open: async (domid) => modelStoreClient(store, domid), [Symbol.asyncDispose]: async () => {} };
}

/** A store on sockets in a directory of its own. The server can end and start again; the tree stays. */
export class SocketWorld implements StoreWorld {
  readonly store = new ModelStore();
  readonly #directory: string;
  readonly #domids = new Set<number>();
  server: StoreServer;

  readonly #options: OpenStoreOptions;

  private constructor(directory: string, options: OpenStoreOptions) {
    this.#directory = directory;
    this.#options = options;
    this.server = new StoreServer(this.store);
  }

  /** @param options for every client. */
  static async make(options: OpenStoreOptions = {}): Promise<SocketWorld> {
    return new SocketWorld(await mkdtemp(join(tmpdir(), 'vifd-store-')), options);
  }

  /** The path of a domain's socket, which listens from now on. */
  async socket(domid: number): Promise<string> {
    const path = join(this.#directory, `domain${domid}`);
    if (!this.#domids.has(domid)) await this.server.listen(path, domid);
    this.#domids.add(domid);
    return path;
  }

  async open(domid: number, options: OpenStoreOptions = {}): Promise<StoreClient> {
    return openStore({
      pauseMs: 1,
      pauseMsMax: 10,
      ...this.#options,
      ...options,
      path: await this.socket(domid),
    });
  }

  /** Ends the server and the connections of its clients. */
  async stop(): Promise<void> {
    await this.server.close();
  }

  async restart(): Promise<void> {
    this.server = new StoreServer(this.store);
    for (const domid of this.#domids)
      await this.server.listen(join(this.#directory, `domain${domid}`), domid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    await rm(this.#directory, { recursive: true });
  }
}
