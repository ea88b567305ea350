import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { type Journals, memoryJournals } from '../lib/durable/journal.js';
import { journalFiles } from '../lib/host/journal-files.js';
import { ModelHypervisor } from '../lib/testing/model/index.js';
import { XenGrants } from '../lib/xen/native/grants.js';
import { loadLibraries, openGrantDevice, openShareDevice } from '../lib/xen/native/libraries.js';
import { XenShares } from '../lib/xen/native/shares.js';
import type { Grants, Shares } from '../lib/xen/seam.js';

export const BACKEND = 0;
export const GUEST = 7;

/** A hypervisor with a guest and a backend in this one process. */
export interface BenchMachine extends Disposable {
  readonly guest: Shares;
  readonly backend: Grants;
  /** Returns journals in a folder of their own: each backend of the guest needs its own. */
  journals(): Journals;
}

export function modelMachine(): BenchMachine {
  const hypervisor = new ModelHypervisor();
  const guest = hypervisor.open(GUEST);
  const backend = hypervisor.open(BACKEND);
  const { shares } = guest;
  return { guest: shares, backend: backend.grants, journals: memoryJournals, [Symbol.dispose]() {} };
}

/** On a tmpfs, as /run is with its journals. */
const FOLDER_PREFIX = '/dev/shm/vifd-bench-';
const FOLDER_VARIABLE = 'VIFD_BENCH_FOLDER';

/** Makes the folder of all machines of this process's children. Disposal deletes it: a child that a signal ended leaves its files. */
export function machinesFolder(): Disposable {
  const folder = mkdtempSync(FOLDER_PREFIX);
  process.env[FOLDER_VARIABLE] = folder;
  return { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The simulated Xen's libraries, relative to the project. */
export const XENSIM = resolve('build/Release/xensim');

/** xensim reads the caller's domain from the environment at each open: so this process can be both ends. */
export function xensimMachine(): BenchMachine {
  const parent = process.env[FOLDER_VARIABLE];
  const folder = mkdtempSync(parent === undefined ? FOLDER_PREFIX : join(parent, 'machine-'));
  const [directory, journals] = ['xensim', 'journals'].map((name) => join(folder, name));
  mkdirSync(directory);
  mkdirSync(journals);
  process.env.XENSIM = directory;
  const libraries = loadLibraries(XENSIM);
  process.env.XENSIM_DOMID = String(GUEST);
  const device = openShareDevice(libraries);
  if (device === undefined) throw new Error(`${XENSIM} is not the simulated Xen`);
  const guest = new XenShares(device);
  process.env.XENSIM_DOMID = String(BACKEND);
  const backend = new XenGrants(openGrantDevice(libraries));
  return {
    guest,
    backend,
    journals: () => journalFiles(mkdtempSync(join(journals, 'backend-'))),
    [Symbol.dispose]() {
      backend[Symbol.dispose]();
      guest[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** bench/native: the data path once more, in C++. */
export interface CxxLoop {
  fromGuest(slots: number, step: number): number;
  toGuest(frames: number, step: number): number;
  setSource(bytes: Uint8Array): void;
  lastFrames(): Uint8Array[];
  delivered(): { fromGuest: number; toGuest: number; notified: number };
}

/** The tap that a C++ loop makes and writes frames into. */
export interface CxxTap {
  readonly tap: string;
  /** By one io_uring_enter for each batch, as lib/ports/tap.ts does it, or by one write for each frame. */
  readonly write: 'batch' | 'frame';
}

interface CxxOptions extends Partial<CxxTap> {
  readonly directory: string;
  readonly domid: number;
  readonly txRef: number;
  readonly rxRef: number;
}

/** @param options without a tap, frames are only counted. */
export function cxxLoop(options: CxxOptions): CxxLoop {
  const require = createRequire(import.meta.url);
  const addon = require(resolve('build/Release/bench.node')) as {
    Loop: new (options: CxxOptions) => CxxLoop;
  };
  return new addon.Loop(options);
}
