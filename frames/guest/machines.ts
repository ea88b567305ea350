import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { modelStoreClient } from '../../lib/testing/xenstored/client.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';
import { type Machine, modelMachine } from '../../test/netback/machine.js';

/** The simulated Xen's libraries, relative to the project. */
const XENSIM = resolve('build/Release/xensim');
const TURN_MS = 2;

export { modelMachine };

/** The addon over xensim, where a real tap takes bytes straight out of the guest's pages. */
export function xensimMachine(): Machine {
  const directory = mkdtempSync(join('/dev/shm', 'vifd-frames-'));
  const store = new ModelStore();
  const opened: Xen[] = [];
  return {
    open: async (domid) => {
      // xensim reads both when a handle is opened.
      process.env.XENSIM = directory;
      process.env.XENSIM_DOMID = String(domid);
      if (!store.isIntroduced(domid)) store.introduce(domid);
      const xen = await openXen({ libraries: XENSIM, domid, store: modelStoreClient(store, domid) });
      opened.push(xen);
      return xen;
    },
    kill: () => {
      throw new Error('xensim kills processes, not parts of one');
    },
    settle: () => new Promise((done) => setTimeout(done, TURN_MS)),
    close: async () => {
      for (const xen of opened) await xen[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Settles until `holds` returns true. @throws Error after a time that is enough for a slow machine. */
export async function settledUntil(machine: Machine, what: string, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`${what} did not come about within ${PATIENCE_MS} ms`);
    await machine.settle();
  }
}

const PATIENCE_MS = 20_000;
