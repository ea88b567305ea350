import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { modelStoreClient } from '../../lib/testing/xenstored/client.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';

/** What a test of the backend runs on: domains, and a way to wait until nothing moves any more. */
export interface Machine {
  open(domid: number): Promise<Xen>;
  /** Ends a life as SIGKILL does. Only the model can do that to a part of a process. */
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

const root = fileURLToPath(new URL('../..', import.meta.url));
const build = process.env.VIFD_ADDON
  ? dirname(resolve(process.env.VIFD_ADDON))
  : join(root, 'build', 'Release');
const libraries = join(build, 'xensim');

/** Long enough for an event to cross and be answered a few times, under sanitizers too. */
const SETTLE_MS = 25;

/** The addon over xensim: several domains in one process, so that a sanitizer sees both ends. */
export function simMachine(): Machine {
  const directory = mkdtempSync(join(tmpdir(), 'vifd-machine-'));
  const store = new ModelStore();
  const opened: Xen[] = [];
  return {
    open: async (domid) => {
      // Read by xensim when a handle is opened.
      process.env.XENSIM = directory;
      process.env.XENSIM_DOMID = String(domid);
      if (!store.isIntroduced(domid)) store.introduce(domid);
      const xen = await openXen({ libraries, domid, store: modelStoreClient(store, domid) });
      opened.push(xen);
      return xen;
    },
    kill: () => {
      throw new Error('xensim kills processes, not parts of one');
    },
    settle: () => sleep(SETTLE_MS),
    close: async () => {
      for (const xen of opened) await xen[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const simMissing = existsSync(join(libraries, 'libxengnttab.so.1'))
  ? undefined
  : 'xensim is not built: npm run build:native';

/** For describe.each. */
export const MACHINES: ReadonlyArray<readonly [name: string, make: () => Machine]> = [
  ['the model', () => modelMachine()],
  ...(simMissing === undefined ? [['the addon over xensim', simMachine] as const] : []),
];
