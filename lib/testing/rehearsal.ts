/**
 * A guest on a modelled Xen, for a backend that runs its code before a guest needs it. `workers/warm-up.ts` is given this function: nothing
 * above `testing/` imports it, so it is in a bundle of its own (scripts/bundle.mjs).
 */
import type { Port } from '../ports/port.js';
import type { Xen } from '../xen/seam.js';
import { ModelHypervisor } from './model/index.js';
import { createVif, Netfront, TrafficPort } from './netfront/index.js';

export interface RehearsalParts {
  /**
   * Serves the vif, whose frames go to `port`. @returns a function that detaches from it; it may throw why the vif was not served.
   */
  readonly serve: (vif: RehearsedVif, xen: Xen, port: Port) => Promise<() => Promise<void>>;
  /** Asked before each turn: false ends the rehearsal. */
  readonly goesOn: () => boolean | Promise<boolean>;
}

export interface RehearsedVif {
  readonly domid: number;
  readonly handle: number;
  /** The backend's node. */
  readonly path: string;
}

const [DOMID, HANDLE] = [7, 0];
/** Of both directions in each turn: short and full frames, a batch. */
const SIZES_BYTES = [60, 1514, 200];
const FRAMES = 64;
const CONNECT_MS_MAX = 2000;
/** A turn that moves its frames takes 20 rounds of the event loop. */
const ROUNDS_MAX = 1000;

/**
 * Has a backend attach to a connected guest, move a batch of frames each way, and detach; again and again.
 * @returns how many turns there were.
 * @throws what `serve` throws; Error if the guest is not served, or the frames of a turn do not move.
 */
export async function rehearse({ serve, goesOn }: RehearsalParts): Promise<number> {
  const hypervisor = new ModelHypervisor({ autorun: true });
  const [toolstack, guest] = [hypervisor.open(0), hypervisor.open(DOMID)];
  const [near, far] = [traffic(1), traffic(2)];
  let turns = 0;
  try {
    const made = { domid: DOMID, handle: HANDLE, mac: '00:16:3e:00:00:01' };
    const { backendPath: path } = await createVif(toolstack.store, made);
    const vif = { domid: DOMID, handle: HANDLE, path };
    for (; await goesOn(); turns++) {
      const xen = hypervisor.open(0);
      try {
        const detach = await serve(vif, xen, far);
        try {
          // The frontend stays connected from its first turn on.
          if (turns === 0) await connect(guest, near);
          await moveFrames(near, far);
        } finally {
          await detach();
        }
      } finally {
        hypervisor.kill(xen);
      }
    }
  } finally {
    for (const xen of [guest, toolstack]) hypervisor.kill(xen);
  }
  return turns;
}

function traffic(seed: number): TrafficPort {
  return new TrafficPort({ generate: { seed, sizes: SIZES_BYTES, frames: 0 } });
}

async function connect(xen: Xen, port: Port): Promise<void> {
  const signal = AbortSignal.timeout(CONNECT_MS_MAX);
  const front = await Netfront.connect({ xen, handle: HANDLE, port, signal, keepGrants: true });
  await front.connected({ signal });
}

/** Resolves when a batch of frames has come out of each port. */
async function moveFrames(...ports: readonly TrafficPort[]): Promise<void> {
  const goals = ports.map((port) => port.framesWritten + FRAMES);
  for (const port of ports) port.send(FRAMES);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    if (ports.every(({ framesWritten }, i) => framesWritten >= goals[i])) return;
    await new Promise<void>((next) => setImmediate(next));
  }
  throw new Error('The frames of a rehearsal did not move.');
}
