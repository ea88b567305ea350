import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { modelStoreClient } from '../../lib/testing/xenstored/client.js';
import { StoreServer } from '../../lib/testing/xenstored/server.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import type { Store } from '../../lib/xen/seam.js';
import { XENSIM_LIBRARIES } from '../places.js';
import { command } from './children.js';

export const BRIDGE = 'br0';
export const HOST_ADDRESS = '10.77.0.1';

/** The simulated hypervisor, the store, and the host's bridge, all in the namespaces that we are in. */
export class Machine implements AsyncDisposable {
  /** dom0's connection. */
  readonly toolstack: Store;
  readonly #directory: string;
  readonly #store: ModelStore;
  readonly #server: StoreServer;

  static async open(): Promise<Machine> {
    await ownMounts();
    const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    const machine = new Machine(await mkdtemp(join(parent, 'vifd-demo-')));
    try {
      await machine.#server.listen(machine.#socket(0), 0);
      await makeBridge();
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(directory: string) {
    this.#directory = directory;
    this.#store = new ModelStore();
    this.#server = new StoreServer(this.#store);
    this.toolstack = modelStoreClient(this.#store, 0);
  }

  async addDomain(domid: number): Promise<void> {
    this.#store.introduce(domid);
    await this.#server.listen(this.#socket(domid), domid);
  }

  /** Environment and options of a program that runs in a domain. */
  programIn(domid: number): { env: NodeJS.ProcessEnv; options: readonly string[] } {
    return {
      env: { XENSIM: this.#directory, XENSIM_DOMID: String(domid) },
      options: ['--store', this.#socket(domid), '--libraries', XENSIM_LIBRARIES],
    };
  }

  /** For what the backend's lives leave to each other. */
  get journalDirectory(): string {
    return join(this.#directory, 'journal');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.toolstack[Symbol.asyncDispose]();
    await this.#server.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  #socket(domid: number): string {
    return join(this.#directory, `store-${domid}`);
  }
}

/**
 * /sys shows the network devices of the namespace that it was mounted in. Shared memory of our own vanishes with us,
 * and is not short of space in a container. Neither is worth failing for.
 */
export async function ownMounts(): Promise<void> {
  await command('mount', '-t', 'sysfs', 'sysfs', '/sys').catch(() => undefined);
  if (existsSync('/dev/shm'))
    await command('mount', '-t', 'tmpfs', 'tmpfs', '/dev/shm').catch(() => undefined);
}

async function makeBridge(): Promise<void> {
  await command('ip', 'link', 'set', 'lo', 'up');
  // An address of its own: otherwise the bridge takes one from its ports, and changes it when they come and go.
  await command('ip', 'link', 'add', BRIDGE, 'address', '02:77:00:00:00:01', 'type', 'bridge');
  // In the place of the host's network card: a bridge whose ports are all down is down itself, and forgets neighbours.
  await command('ip', 'link', 'add', 'nic0', 'type', 'veth', 'peer', 'name', 'wire0');
  await command('ip', 'link', 'set', 'nic0', 'master', BRIDGE, 'up');
  await command('ip', 'link', 'set', 'wire0', 'up');
  await command('ip', 'address', 'add', `${HOST_ADDRESS}/24`, 'dev', BRIDGE);
  await command('ip', 'link', 'set', BRIDGE, 'up');
}
