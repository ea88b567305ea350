import { closeSync } from 'node:fs';
import { addon, errnoName } from '../addon.js';
import { ownershipIn } from '../daemon/ownership.js';
import { type Journals, memoryJournals } from '../durable/journal.js';
import { hostFault, VifdError } from '../errors.js';
import { interfaces } from '../host/netlink-interfaces.js';
import type { PayloadMode } from '../netback/settings.js';
import type { VifId } from '../netback/vif-info.js';
import type { Port } from '../ports/port.js';
import type { Xen } from '../xen/seam.js';
import { ChannelStore } from './channel-store.js';
import { LinkKeeper } from './link-keeper.js';
import { RemoteVifs } from './remote-vifs.js';
import { type OwnXen, warmUpXen } from './warm-up-xen.js';
import { Worker } from './worker.js';

/** What `testing/rehearsal.ts` exports. Nothing above `testing/` may import it, so the program that starts a worker passes it. */
export interface Rehearsal {
  rehearse(parts: {
    readonly serve: (vif: RehearsedVif, xen: Xen, port: Port) => Promise<() => Promise<void>>;
    readonly goesOn: () => Promise<boolean>;
  }): Promise<number>;
}

interface RehearsedVif {
  readonly domid: number;
  readonly handle: number;
  readonly path: string;
}

export interface WarmUpParts {
  readonly rehearsal: Rehearsal;
  readonly payload: PayloadMode;
  /** The hypervisor of this process. */
  readonly xen: OwnXen;
  /** Returns whether guests need this process now. The warm-up then ends with its present turn, of some ms. */
  readonly isNeeded: () => boolean;
}

export interface WarmUp {
  /** How often the process attached to the guest, moved frames, and detached. */
  readonly turns: number;
  readonly cpuMs: number;
}

/**
 * Processor time that a take-over took up to the attach after 0, 3, 6, 10, 15, 30 and 100 turns: 8.5, 8.7, 7.9, 6.1, 5.8, 6.1 and 7.0 ms (medians of
 * 15, on xensim, when the store, the link and event channels were the model's). Private memory that the turns leave: 0, 7, 9, 11, 11, 16 and 26 MB.
 */
const TURNS = 10;
const CPU_MS_MAX = 700;
/** Neighbours on the same processor run between two turns, each of which takes 10 ms. A process without privileges could not take nice(2) back. */
const PAUSE_MS = 10;

/**
 * Runs the code that serves a guest, on a modelled guest, so that V8 has compiled it when a real guest needs it.
 * @throws VifdError ERR_STATE if the guest was not served. The process serves real guests all the same, with its first frames some ms later.
 */
export async function warmUp({ rehearsal, payload, xen: own, isNeeded }: WarmUpParts): Promise<WarmUp> {
  const began = process.cpuUsage();
  const cpuMs = () => {
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1000;
  };
  const journals = memoryJournals();
  using channels = new ChannelStore();
  let begun = 0;
  const turns = await rehearsal.rehearse({
    serve: ({ domid, handle, path }, model, port) =>
      serveOnce(
        { id: `vif${domid}.${handle}`, domid, handle, path },
        { xen: warmUpXen(model, own), port, payload, journals, channels },
      ),
    goesOn: async () => {
      if (begun > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      return begun++ < TURNS && cpuMs() < CPU_MS_MAX && !isNeeded();
    },
  });
  return { turns, cpuMs: cpuMs() };
}

interface Place extends RehearsedVif {
  readonly id: VifId;
}

interface Rehearsed {
  readonly xen: Xen;
  readonly port: Port;
  readonly payload: PayloadMode;
  readonly journals: Journals;
  readonly channels: ChannelStore;
}

/** Gives the vif to a worker of its own, as a supervisor does after the death of another worker. */
async function serveOnce(
  place: Place,
  { xen, port, payload, journals, channels }: Rehearsed,
): Promise<() => Promise<void>> {
  const pair = addon().socketPair();
  if (typeof pair === 'number') throw hostFault('Making a link for the warm-up', errnoName(pair));
  const [near, far] = pair;
  let failure: VifdError | undefined;
  const onError = (error: VifdError) => {
    failure ??= error;
  };
  const ownership = ownershipIn(xen, interfaces(), () => port);
  const keeper = new LinkKeeper(onError);
  const worker = new Worker({
    options: {
      ...{ xen, payload, journals },
      port: (vif) => ownership.port(vif, undefined),
      accept: (vif, serving) => ownership.accept(vif, serving),
    },
    listeners: ownership.listening({ ...SILENT, error: onError }),
    keeper,
    locks: undefined,
    onEnd: () => {},
  });
  worker.accept(far);
  const remote = new RemoteVifs(near, {
    ...NO_REPORTS,
    onKeep: (_name, descriptor) => closeSync(descriptor),
    onKeepChannels: (vif, stored) => channels.own(vif, stored),
  });
  const stored = channels.take(place.id);
  await remote.found(place, false, new Map(), { from: process.pid, channels: stored });
  if (stored !== undefined) closeSync(stored.descriptor);
  return async () => {
    // First, so that the channels stay for the next turn, as after a death.
    remote[Symbol.dispose]();
    await worker.detach();
    worker[Symbol.dispose]();
    keeper[Symbol.dispose]();
    if (failure !== undefined) throw new VifdError('ERR_STATE', `The warm-up failed: ${failure.message}`);
  };
}

const nothing = (): void => {};
const SILENT = { attached: nothing, detached: nothing, recovered: nothing, mended: nothing };
const NO_REPORTS = {
  ...{ onHello: nothing, onAttached: nothing, onDetached: nothing, onChanged: nothing, onGone: nothing },
  ...{ onLookAgain: nothing, onForget: nothing, onForgetChannels: nothing, onAlive: nothing, onEnd: nothing },
};
