import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import { openXen } from '../../lib/xen/native/open.js';
import type { Store, Xen } from '../../lib/xen/types.js';
import { type XenPair, xenContract } from './contract.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const build = process.env.VIFD_ADDON
  ? dirname(resolve(process.env.VIFD_ADDON))
  : join(root, 'build', 'Release');
const libraries = join(build, 'xensim');

const BACKEND = 0;
const FRONTEND = 7;

/** The contract is about memory and events. */
const noStore = { [Symbol.asyncDispose]: async () => {} } as unknown as Store;

async function enter(domid: number): Promise<Xen> {
  // Read by xensim when a handle is opened: one process can so be two domains.
  process.env.XENSIM_DOMID = String(domid);
  return openXen({ libraries, store: noStore });
}

async function open(): Promise<XenPair> {
  const machine = mkdtempSync(join(tmpdir(), 'vifd-xen-'));
  process.env.XENSIM = machine;
  const backend = await enter(BACKEND);
  // libxenctrl is opened at the first question, as the domain that this process is then.
  backend.domainExists?.(BACKEND);
  const frontend = await enter(FRONTEND);
  return {
    backend,
    frontend,
    close: async () => {
      await backend[Symbol.asyncDispose]();
      await frontend[Symbol.asyncDispose]();
      rmSync(machine, { recursive: true, force: true });
    },
  };
}

function skip(): string | undefined {
  if (!existsSync(join(libraries, 'libxengnttab.so.1'))) return 'xensim is not built: npm run build:native';
  return undefined;
}

describe('the addon keeps the contract', () => {
  xenContract('over xensim', open, skip());
});
