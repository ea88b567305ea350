import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
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
}

export function modelMachine(): BenchMachine {
  const hypervisor = new ModelHypervisor();
  const guest = hypervisor.open(GUEST);
  const backend = hypervisor.open(BACKEND);
  return { guest: guest.shares, backend: backend.grants, [Symbol.dispose]() {} };
}

/** The simulated Xen's libraries, relative to the project. */
export const XENSIM = resolve('build/Release/xensim');

/** xensim reads the caller's domain from the environment at each open: so this process can be both ends. */
export function xensimMachine(): BenchMachine {
  const directory = mkdtempSync(join('/dev/shm', 'vifd-bench-'));
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
    [Symbol.dispose]() {
      backend[Symbol.dispose]();
      guest[Symbol.dispose]();
      rmSync(directory, { recursive: true, force: true });
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

interface CxxOptions {
  readonly directory: string;
  readonly domid: number;
  readonly txRef: number;
  readonly rxRef: number;
  /** Makes a tap of this name and writes frames into it. Default: they are counted. */
  readonly tap?: string;
}

export function cxxLoop(options: CxxOptions): CxxLoop {
  const require = createRequire(import.meta.url);
  const addon = require(resolve('build/Release/bench.node')) as {
    Loop: new (options: CxxOptions) => CxxLoop;
  };
  return new addon.Loop(options);
}
