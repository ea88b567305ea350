import { type Journals, memoryJournals } from '../durable/journal.js';
import { VifdError } from '../errors.js';
import type { PayloadMode } from '../netback/settings.js';
import { ServedVifs } from '../netback/vif/served-vifs.js';
import type { VifId } from '../netback/vif-info.js';
import type { Port } from '../ports/port.js';
import type { Xen } from '../xen/seam.js';

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
  /** Returns whether guests need this process now. The warm-up then ends with its present turn, of some ms. */
  readonly isNeeded: () => boolean;
}

export interface WarmUp {
  /** How often the process attached to the guest, moved frames, and detached. */
  readonly turns: number;
  readonly cpuMs: number;
}

/**
 * Processor time that a take-over takes up to the attach after 0, 3, 6, 10, 15, 30 and 100 turns: 8.5, 8.7, 7.9, 6.1, 5.8, 6.1 and 7.0 ms (medians of 15, on
 * xensim). Private memory that the turns leave: 0, 7, 9, 11, 11, 16 and 26 MB.
 */
const TURNS = 10;
const CPU_MS_MAX = 700;
/** Neighbours on the same processor run between two turns, each of which takes 4 ms. A process without privileges could not take nice(2) back. */
const PAUSE_MS = 10;

/**
 * Runs the code that serves a guest, on a modelled guest, so that V8 has compiled it when a real guest needs it.
 * @throws VifdError ERR_STATE if the guest was not served. The process serves real guests all the same, with its first frames some ms later.
 */
export async function warmUp({ rehearsal, payload, isNeeded }: WarmUpParts): Promise<WarmUp> {
  const began = process.cpuUsage();
  const cpuMs = () => {
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1000;
  };
  const journals = memoryJournals();
  let begun = 0;
  const turns = await rehearsal.rehearse({
    serve: ({ domid, handle, path }, xen, port) =>
      serveOnce(
        { id: `vif${domid}.${handle}`, domid, handle, path },
        { xen, port: () => port, payload, journals },
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

interface Options {
  readonly xen: Xen;
  readonly port: () => Port;
  readonly payload: PayloadMode;
  readonly journals: Journals;
}

async function serveOnce(place: Place, options: Options): Promise<() => Promise<void>> {
  let failure: VifdError | undefined;
  const nothing = () => {};
  const served = new ServedVifs({
    options,
    onAttached: nothing,
    onDetached: nothing,
    onRecovered: nothing,
    onMended: nothing,
    onGone: nothing,
    onError: (error) => {
      failure ??= error;
    },
  });
  await served.found(place, false, () => false);
  return async () => {
    await served.detach();
    if (failure !== undefined) throw new VifdError('ERR_STATE', `The warm-up failed: ${failure.message}`);
  };
}
