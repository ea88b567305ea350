import { tap } from '../lib/ports/tap.js';
import { FRAMES } from './frames.js';
import { BenchGuest } from './guest.js';
import { type Loop, type LoopParts, TypeScriptLoop } from './loop.js';
import {
  BACKEND,
  type BenchMachine,
  type CxxTap,
  cxxLoop,
  GUEST,
  modelMachine,
  XENSIM,
  xensimMachine,
} from './machines.js';
import { type Cell, cellsOf, type Effort, type Found, measure } from './measure.js';
import { OBSERVERS } from './observers.js';
import { verifySame } from './verify.js';

/** The loop that ratios are to, in each subject that has one. */
export const CXX = 'cxx';
/** C++ that writes each frame into its tap by a system call of its own. */
export const CXX_WRITE = 'cxx write';

/**
 * What is compared with C++, each in processes of its own. In one process with another payload mode, or without the journal, V8 would
 * compile code for both, which no vifd runs.
 */
export interface Subject {
  readonly name: string;
  readonly cells: readonly Cell[];
  /** Whether it needs a network namespace of its own. */
  readonly network: boolean;
  /** Measures it and C++ in turns, in this process. */
  readonly measure: (cells: readonly Cell[], effort: Effort) => Promise<Found[]>;
}

type Variant = (machine: BenchMachine) => Omit<LoopParts, 'grants' | 'guest'>;

const BOTH = [...cellsOf('from-guest'), ...cellsOf('to-guest')];

/** The cells in which what a hook costs counts most. */
const OBSERVED = BOTH.filter(({ frame, batch }) => frame === FRAMES[0] && batch === 64);

export const SUBJECTS: readonly Subject[] = [
  beside('native', (machine) => ({ payload: 'copy', journals: machine.journals() })),
  beside('no journal', () => ({ payload: 'copy' })),
  beside('map', (machine) => ({ payload: 'map', journals: machine.journals() })),
  beside('staged', (machine) => ({ payload: 'copy', journals: machine.journals(), staged: true })),
  ...OBSERVERS.map(({ name, observe }) =>
    beside(name, (machine) => ({ payload: 'copy', journals: machine.journals(), observe }), OBSERVED),
  ),
  { name: 'model', cells: BOTH, network: false, measure: measureModel },
  intoTap('tap', 'copy'),
  intoTap('tap map', 'map'),
];

/** Returns a subject on the same rings as C++. Before each cell it checks that both do the same work. */
function beside(name: string, variant: Variant, measured = BOTH): Subject {
  const run = async (cells: readonly Cell[], effort: Effort) => {
    using machine = xensimMachine();
    const guest = new BenchGuest(machine.guest, BACKEND);
    const { txRef, rxRef } = guest;
    const cxx = cxxLoop({ directory: XENSIM, domid: GUEST, txRef, rxRef });
    const parts = variant(machine);
    const loop = new TypeScriptLoop({ grants: machine.backend, guest, ...parts });
    const found = await measure(cells, guest, { [CXX]: cxx, [name]: loop }, effort, (cell) => {
      // The last frames of payload mode map are in the guest's pages.
      if (parts.payload === 'copy') verifySame(cell, guest, cxx, loop);
    });
    loop.close();
    return found;
  };
  return { name, cells: measured, network: false, measure: run };
}

/** Over the model of Xen, without C++. */
async function measureModel(cells: readonly Cell[], effort: Effort): Promise<Found[]> {
  using machine = modelMachine();
  const guest = new BenchGuest(machine.guest, BACKEND);
  const parts = { grants: machine.backend, guest, journals: machine.journals() };
  const model = new TypeScriptLoop({ ...parts, payload: 'copy' });
  return measure(cells, guest, { model }, effort);
}

/**
 * From the guest into taps, a tap for each loop. In a network namespace of its own, so that no other program sees the frames; the
 * namespace's stack receives each frame, and drops it as meant for another host.
 */
function intoTap(name: string, payload: LoopParts['payload']): Subject {
  const run = async (cells: readonly Cell[], effort: Effort) => {
    using machine = xensimMachine();
    const guest = new BenchGuest(machine.guest, BACKEND);
    const { txRef, rxRef } = guest;
    const cxxInto = (into: CxxTap) => cxxLoop({ directory: XENSIM, domid: GUEST, txRef, rxRef, ...into });
    await using port = tap({ name: 'bench', up: true });
    // As while a guest is connected, and as the C++ loops' taps.
    port.setCarrier?.(true);
    const journals = machine.journals();
    const loop = new TypeScriptLoop({ grants: machine.backend, guest, payload, journals, port });
    const loops: Record<string, Loop> = {
      [CXX]: cxxInto({ tap: 'bench-cxx', write: 'batch' }),
      [CXX_WRITE]: cxxInto({ tap: 'bench-write', write: 'frame' }),
      [name]: loop,
    };
    const found = await measure(cells, guest, loops, effort);
    const { dropped } = loop.counters.fromGuest;
    if (dropped > 0) throw new Error(`the tap refused ${dropped} frames of payload mode ${payload}`);
    loop.close();
    return found;
  };
  return { name, cells: cellsOf('from-guest'), network: true, measure: run };
}
