import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import type { HostCall } from '../../lib/testing/model/faults.js';
import { Link } from '../../lib/workers/link.js';
import { startWorker } from '../../lib/workers/start-worker.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Store, StoredEvents, StoredPort, Xen } from '../../lib/xen/seam.js';
import { until } from '../../worlds/processes/until.js';
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

/** What the other process imports. */
const OPEN = new URL('../../dist/xen/native/open.js', import.meta.url);
const ADDON = new URL('../../dist/addon.js', import.meta.url);
const SOON_MS = 5000;

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
    killedAfterBinding,
    close: async () => {
      delete process.env.XENSIM_FAULTS;
      await backend[Symbol.asyncDispose]();
      await frontend[Symbol.asyncDispose]();
      rmSync(machine, { recursive: true, force: true });
    },
  };
}

async function killedAfterBinding(remotePorts: readonly number[]): Promise<StoredEvents> {
  process.env.XENSIM_DOMID = String(BACKEND);
  const program = `
    const { openXen } = await import(${JSON.stringify(OPEN.href)});
    const { addon } = await import(${JSON.stringify(ADDON.href)});
    const libraries = ${JSON.stringify(libraries)};
    const store = { [Symbol.asyncDispose]: async () => {} };
    const xen = await openXen({ libraries, store, domid: ${BACKEND} });
    const events = xen.openLastingEvents();
    let left = ${remotePorts.length};
    const read = () => {
      if (--left > 0) return;
      const { descriptor, ports } = events.stored;
      addon().sendMessage(3, Buffer.from(JSON.stringify(ports)), [descriptor]);
    };
    for (const port of ${JSON.stringify(remotePorts)}) events.bind(${FRONTEND}, port, read);`;
  const worker = await startWorker(['-e', `(async () => {${program}})()`]);
  let stored: StoredEvents | undefined;
  using _link = new Link(worker.descriptor, {
    onMessage: (message, [descriptor]) => {
      stored = { descriptor: descriptor!, ports: message as StoredPort[] };
    },
    onEnd: () => {},
  });
  await until(() => stored !== undefined, SOON_MS);
  worker.signal('SIGKILL');
  await worker.gone;
  if (stored === undefined) throw new Error('the other process has stored nothing');
  return stored;
}

function skip(): string | undefined {
  if (!existsSync(join(failing, 'libxengnttab.so.1'))) return 'xensim is not built: npm run build:native';
  return undefined;
}

describe('the addon keeps the contract', () => {
  const skipLasting = existsSync(OPEN) ? undefined : 'dist is not built: npm run build:ts';
  xenContract('over xensim', open, skip(), skipLasting);
});
