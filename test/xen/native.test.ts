import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import type { HostCall } from '../../lib/testing/model/faults.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Store, Xen } from '../../lib/xen/seam.js';
import { type XenPair, xenContract } from './contract.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const build = process.env.VIFD_ADDON
  ? dirname(resolve(process.env.VIFD_ADDON))
  : join(root, 'build', 'Release');
const libraries = join(build, 'xensim');
/** The same, with calls that fail when a file asks for it (native/xensim/faults/fault.h). */
const failing = join(build, 'xensim-faults');
const CALLS: Record<HostCall, string> = {
  copy: 'gnttab_grant_copy',
  map: 'gnttab_map',
  unmap: 'gnttab_unmap',
  bind: 'evtchn_bind',
  arena: 'none',
};

const BACKEND = 0;
const FRONTEND = 7;

/** The contract is about memory and events. */
const noStore = { [Symbol.asyncDispose]: async () => {} } as unknown as Store;

async function enter(domid: number, from: string): Promise<Xen> {
  // Read by xensim when a handle is opened: one process can so be two domains.
  process.env.XENSIM_DOMID = String(domid);
  return openXen({ libraries: from, store: noStore });
}

async function open(): Promise<XenPair> {
  const machine = mkdtempSync(join(tmpdir(), 'vifd-xen-'));
  process.env.XENSIM = machine;
  const faults = join(machine, 'faults');
  mkdirSync(faults);
  process.env.XENSIM_FAULTS = faults;
  const backend = await enter(BACKEND, failing);
  // libxenctrl is opened at the first question, as the domain that this process is then.
  backend.domainExists?.(BACKEND);
  const frontend = await enter(FRONTEND, libraries);
  return {
    backend,
    frontend,
    fail: (call, errno) => writeFileSync(join(faults, CALLS[call]), errno),
    heal: () => {
      for (const file of readdirSync(faults)) rmSync(join(faults, file));
    },
    close: async () => {
      delete process.env.XENSIM_FAULTS;
      await backend[Symbol.asyncDispose]();
      await frontend[Symbol.asyncDispose]();
      rmSync(machine, { recursive: true, force: true });
    },
  };
}

function skip(): string | undefined {
  if (!existsSync(join(failing, 'libxengnttab.so.1'))) return 'xensim is not built: npm run build:native';
  return undefined;
}

describe('the addon keeps the contract', () => {
  xenContract('over xensim', open, skip());
});
