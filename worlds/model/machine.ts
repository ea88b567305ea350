import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { modelStoreClient } from '../../lib/testing/xenstored/client.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';
import { XENSIM_LIBRARIES } from '../places.js';

/** Domains, and a way to wait until all events are handled: on the model, or on the addon over xensim. */
export interface Machine {
  open(domid: number): Promise<Xen>;
  /** Ends a process as SIGKILL does. Only the model can do that to a part of a process. */
  kill(xen: Xen): void;
  settle(): Promise<void>;
  close(): Promise<void>;
}

export function modelMachine(hypervisor = new ModelHypervisor()): Machine {
  return {
    open: async (domid) => hypervisor.open(domid),
    kill: (xen) => hypervisor.kill(xen as ModelXen),
    settle: () => hypervisor.settle(),
    close: async () => {},
  };
}

/** The libraries beside the addon under test: a build with sanitizers has its own. */
const LIBRARIES = process.env.VIFD_ADDON
  ? join(dirname(resolve(process.env.VIFD_ADDON)), 'xensim')
  : XENSIM_LIBRARIES;

/** Long enough for a few events in both directions, with sanitizers too (ms). */
const SETTLE_MS = 25;

export interface XensimOptions {
  /** Where the shared memory lies. Default: the folder for temporary files. */
  readonly folder?: string;
  /** How long `settle` waits. Default: 25. */
  readonly settleMs?: number;
}

/** The addon over xensim: several domains in one process, so that a sanitizer sees both ends. */
export function xensimMachine({ folder = tmpdir(), settleMs = SETTLE_MS }: XensimOptions = {}): Machine {
  const directory = mkdtempSync(join(folder, 'vifd-machine-'));
  const store = new ModelStore();
  const opened: Xen[] = [];
  return {
    open: async (domid) => {
      // xensim reads both when a handle is opened.
      process.env.XENSIM = directory;
      process.env.XENSIM_DOMID = String(domid);
      if (!store.isIntroduced(domid)) store.introduce(domid);
      const xen = await openXen({ libraries: LIBRARIES, domid, store: modelStoreClient(store, domid) });
      opened.push(xen);
      return xen;
    },
    kill: () => {
      throw new Error('xensim kills processes, not parts of one');
    },
    settle: () => sleep(settleMs),
    close: async () => {
      for (const xen of opened) await xen[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const xensimMissing: string | undefined = existsSync(join(LIBRARIES, 'libxengnttab.so.1'))
  ? undefined
  : 'xensim is not built: npm run build:native';

/** For describe.each. */
export const MACHINES: ReadonlyArray<readonly [name: string, make: () => Machine]> = [
  ['the model', () => modelMachine()],
  ...(xensimMissing === undefined ? [['the addon over xensim', () => xensimMachine()] as const] : []),
];
