import { createVif } from '../lib/testing/netfront/index.js';
import { BRIDGE, BridgedWorld } from '../worlds/processes/bridged-world.js';
import { Backend } from './backend.js';
import { type Comparison, compareWithBridge } from './comparison.js';
import { Guest } from './demo-guest.js';
import type { Payload } from './options.js';
import type { Ending } from './recorder.js';
import { Streams } from './streams.js';
import { SupervisedBackend } from './supervised-backend.js';
import { FIRST_DOMID, type World, type WorldParts } from './world.js';

export async function openNamespacesWorld(parts: WorldParts): Promise<World> {
  const machine = await BridgedWorld.open('demo');
  const world = new NamespacesWorld(parts, machine);
  try {
    await world.start();
    return world;
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

/** A process for the backend and for each guest, real taps, a real bridge, and Linux's own TCP at every end. */
class NamespacesWorld implements World {
  readonly about =
    'real processes, taps and TCP in network namespaces; the hypervisor is simulated in shared memory';
  readonly #parts: WorldParts;
  readonly #machine: BridgedWorld;
  readonly #guests: readonly Guest[];
  readonly #backend: Backend | SupervisedBackend;
  #streams: Streams | undefined;

  constructor(parts: WorldParts, machine: BridgedWorld) {
    const { options, recorder, signal, fail } = parts;
    this.#parts = parts;
    this.#machine = machine;
    this.#guests = Array.from({ length: options.guests }, (_, i) => makeGuest(parts, machine, i));
    const backend = {
      machine,
      payload: options.payload,
      vifs: this.#guests.map((_, i) => `vif${FIRST_DOMID + i}.0`),
      signal,
      fail,
      onComplaint: (message: string, code: string) => recorder.complaint(message, code),
    };
    this.#backend =
      options.workers === undefined
        ? new Backend({ ...backend, standby: options.standby })
        : new SupervisedBackend({ ...backend, workers: options.workers });
  }

  async start(): Promise<void> {
    for (const [i, guest] of this.#guests.entries()) {
      const domid = FIRST_DOMID + i;
      await this.#machine.addDomain(domid);
      await createVif(this.#machine.toolstack, { domid, handle: 0, mac: macOf(i) });
      await guest.start();
    }
    await this.#backend.start();
    await Promise.all(this.#guests.map((guest) => guest.ready()));
    await this.#startStreams();
  }

  restart(ending: Ending, payload?: Payload): Promise<void> {
    return this.#backend.restart(ending, payload);
  }

  async finish(): Promise<void> {
    await this.#streams?.finish();
    await this.#streams?.[Symbol.asyncDispose]();
  }

  readonly compare = (): Promise<Comparison> => {
    const [server, client] = this.#guests.map((guest) => guest.place);
    if (server === undefined || client === undefined) return Promise.resolve({ skipped: 'needs two guests' });
    return compareWithBridge(server, client, this.#parts.signal);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#streams?.[Symbol.asyncDispose]();
    await this.#backend[Symbol.asyncDispose]();
    for (const guest of this.#guests) await guest[Symbol.asyncDispose]();
    await this.#machine[Symbol.asyncDispose]();
  }

  /** Connects each guest with the host, in both directions, and with its neighbour. */
  async #startStreams(): Promise<void> {
    const host = { name: 'host', address: BRIDGE.address, enter: [] };
    const places = [host, ...this.#guests.map((guest) => guest.place)];
    this.#streams = new Streams({ ...this.#parts, places });
    const guests = this.#guests.length;
    const pairs: [number, number][] = [];
    for (let guest = 1; guest <= guests; guest++) pairs.push([0, guest], [guest, 0]);
    for (let guest = 1; guest <= guests && guests > 1; guest++) pairs.push([guest, (guest % guests) + 1]);
    await this.#streams.start(pairs);
  }
}

function makeGuest(parts: WorldParts, machine: BridgedWorld, i: number): Guest {
  const { recorder, signal, fail } = parts;
  return new Guest({
    machine,
    recorder,
    signal,
    fail,
    domid: FIRST_DOMID + i,
    name: `guest ${i + 1}`,
    address: `10.77.0.${i + 2}`,
    mac: macOf(i),
  });
}

function macOf(i: number): string {
  return `00:16:3e:77:00:${(i + 1).toString(16).padStart(2, '0')}`;
}
