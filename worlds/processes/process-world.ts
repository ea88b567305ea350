import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modelStoreClient } from '../../lib/testing/xenstored/client.js';
import { StoreServer } from '../../lib/testing/xenstored/server.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { AsyncUndoStack } from '../../lib/undo.js';
import type { Store } from '../../lib/xen/seam.js';
import { openStore } from '../../lib/xen/store/client.js';
import { BACKEND_PROGRAM, STORE_PROGRAM, XENSIM_LIBRARIES } from '../places.js';
import { Child, command, GUARD } from './children.js';
import { promised } from './wait.js';

/** The options with which a process in a domain is started. */
export interface DomainProgram {
  readonly env: NodeJS.ProcessEnv;
  /** Options of vifd and of the guests' program. */
  readonly options: readonly string[];
}

/** A host on xensim: shared memory, a store, and the processes of its domains, all in the namespaces of this process. */
export class ProcessWorld implements AsyncDisposable {
  /** On a file system of shared memory if there is one; removed at the end. */
  readonly directory: string;
  readonly #undo = new AsyncUndoStack();
  #toolstack: Store | undefined;

  /** @param name of the program, for the directory's name. */
  constructor(name: string) {
    const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    this.directory = mkdtempSync(join(parent, `vifd-${name}-`));
  }

  /** dom0's connection. @throws Error before there is a store. */
  get toolstack(): Store {
    if (this.#toolstack === undefined) throw new Error('the toolstack is not connected');
    return this.#toolstack;
  }

  /** Returns the path at which the store listens for a domain. */
  socket(domid: number): string {
    return join(this.directory, `store-${domid}`);
  }

  /** Returns the directory that the processes of a domain's backend share. */
  journal(domid = 0): string {
    return join(this.directory, `journal-${domid}`);
  }

  environment(domid: number): NodeJS.ProcessEnv {
    return { XENSIM: this.directory, XENSIM_DOMID: `${domid}` };
  }

  programIn(domid: number): DomainProgram {
    const options = ['--store', this.socket(domid), '--libraries', XENSIM_LIBRARIES];
    return { env: this.environment(domid), options };
  }

  /** @returns arguments of node for `vifd run` in a domain. @param program Default: the vifd of this checkout. */
  vifdRun(options: readonly string[], domid = 0, program: string = BACKEND_PROGRAM): string[] {
    return [
      ...[program, 'run', ...options, '--journal', this.journal(domid)],
      ...this.programIn(domid).options,
    ];
  }

  /** Serves the store from this process. @returns a function that lets another domain in. */
  async serveStore(): Promise<(domid: number) => Promise<void>> {
    const store = new ModelStore();
    const server = new StoreServer(store);
    this.onEnd(() => server.close());
    await server.listen(this.socket(0), 0);
    this.#toolstack = modelStoreClient(store, 0);
    return async (domid) => {
      store.introduce(domid);
      await server.listen(this.socket(domid), domid);
    };
  }

  /** Serves the store to these domains from a process of its own. */
  async startStore(domids: readonly number[]): Promise<void> {
    const ready = promised();
    const sockets = domids.map((domid) => `${this.socket(domid)}=${domid}`);
    const child = await Child.start({
      name: 'xenstored',
      command: [...GUARD, process.execPath, STORE_PROGRAM, ...sockets],
      onLine: () => ready.keep(),
    });
    this.onEnd(() => child.end('SIGKILL'));
    const ended = child.ended.then((how) => {
      throw new Error(`xenstored ended (${how}): ${child.lastWords}`);
    });
    ended.catch(() => undefined);
    await Promise.race([ready.done, ended]);
    await this.connectToolstack();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.disconnectToolstack();
    try {
      await this.#undo[Symbol.asyncDispose]();
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  /** Runs `step` when the world ends, before the steps that were added earlier. */
  protected onEnd(step: () => unknown): void {
    this.#undo.defer(step);
  }

  /** @param path of the store's socket for dom0. */
  protected async connectToolstack(path = this.socket(0)): Promise<void> {
    this.#toolstack = await openStore({ path });
  }

  /** Removes the store, before the world ends. */
  protected async disconnectToolstack(): Promise<void> {
    const toolstack = this.#toolstack;
    this.#toolstack = undefined;
    await toolstack?.[Symbol.asyncDispose]();
  }
}

/**
 * /sys shows the network devices of the namespace in which it was mounted. Shared memory of this world alone ends with it, and has enough
 * space in a container too. A failure of either is not an error.
 */
export async function ownMounts(): Promise<void> {
  await command('mount', '-t', 'sysfs', 'sysfs', '/sys').catch(() => undefined);
  if (existsSync('/dev/shm'))
    await command('mount', '-t', 'tmpfs', 'tmpfs', '/dev/shm').catch(() => undefined);
}
