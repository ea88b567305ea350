import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Store } from '../../lib/xen/seam.js';
import { must, run, until } from '../drive/process.js';
import { RUNTIME, type Vifd } from '../drive/vifd.js';
import { workersRunning } from '../drive/workers.js';
import type { Dom0 } from './harness.js';

/** Checks that dom0 has no resource of a destroyed domain: interface, journal, store nodes, ports, watches, mappings. */
export async function assertNothingLeft({ store, vifd }: Dom0, domid: number): Promise<void> {
  assert.deepEqual(filesOf('/sys/class/net', domid), [], 'interfaces are left');
  assert.deepEqual(filesOf(RUNTIME, domid), [], 'journals are left');
  assert.deepEqual(await nodesOf(store, domid), [], 'store nodes are left');
  // vifd releases these after it has written state Closed for libxl.
  await untilEmpty('event channels', () => portsOf(domid));
  await untilEmpty('watches', () => watchesOf(domid));
  if (vifd.served.size === 0) await untilEmpty('mapped grants', () => mappingsOf(vifd));
  // A domain of which a page is mapped stays in the list, without a name.
  await until(`domain ${domid} is gone`, async () => (await run('xl', 'list', `${domid}`)).code !== 0);
}

/** The resources that vifd has for a guest that it serves: the same before and after another vif existed. */
export async function heldBy({ store, vifd }: Dom0, domid: number): Promise<Record<string, number>> {
  return {
    interfaces: filesOf('/sys/class/net', domid).length,
    journals: filesOf(RUNTIME, domid).length,
    nodes: (await nodesOf(store, domid)).length,
    ports: (await portsOf(domid)).length,
    watches: (await watchesOf(domid)).length,
    mappings: mappingsOf(vifd).length,
  };
}

/** @returns the names of the interfaces, or journals, of a domain's vifs. */
function filesOf(folder: string, domid: number): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => name.startsWith(`vif${domid}.`));
}

function nodesOf(store: Store, domid: number): Promise<string[]> {
  return store.list(`/local/domain/0/backend/vif/${domid}`);
}

/** A domain's ports to another, as Xen has them, whichever process bound them. @param owner dom0 by default. */
export async function portsOf(domid: number, owner = 0): Promise<string[]> {
  const xen = readdirSync('/usr/lib').find((name) => /^xen-\d/.test(name));
  const lines = (await must(`/usr/lib/${xen}/bin/lsevtchn`, `${owner}`)).split('\n');
  return lines.filter((line) => new RegExp(`Remote Domain ${domid}\\b`).test(line));
}

/** oxenstored lists all watches; those of xl and of the console do not concern vifs. */
async function watchesOf(domid: number): Promise<string[]> {
  const lines = (await must('xenstore-control', 'watches')).split('\n');
  return lines.filter((line) => new RegExp(`/(backend/vif/${domid}|domain/${domid}/device/vif)/`).test(line));
}

function mappingsOf(vifd: Vifd): string[] {
  if (vifd.pid === undefined) return [];
  const lines = [vifd.pid, ...workersRunning()].flatMap((pid) => mapsOf(pid).split('\n'));
  return lines.filter((line) => line.endsWith('/dev/xen/gntdev'));
}

/** @returns '' for a process that is gone: its mappings went with it. */
function mapsOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return '';
    throw error;
  }
}

async function untilEmpty(what: string, look: () => string[] | Promise<string[]>): Promise<void> {
  let left: string[] = [];
  const isEmpty = async () => {
    left = await look();
    return left.length === 0;
  };
  await until(`no ${what} are left`, isEmpty, 15_000).catch(() =>
    assert.deepEqual(left, [], `${what} are left`),
  );
}
