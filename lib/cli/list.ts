import { Command } from 'commander';
import { readForeign } from '../daemon/foreign.js';
import { saysWhenLost } from '../daemon/open-xen.js';
import { backendVifRoot, parseXenbusState, XenbusState } from '../protocol/xenbus.js';
import { jsonLine, shown } from '../text.js';
import type { Store } from '../xen/seam.js';
import { openStore } from '../xen/store/client.js';
import { ownDomid } from '../xen/store/own-domid.js';
import { jsonOption, sharedOption } from './options.js';
import { table } from './table.js';

/** A vif as `vifd list --json` prints it; docs/schemas/list.json describes it. */
interface VifRow {
  readonly vif: string;
  readonly domain: string;
  readonly backend: string;
  readonly frontend: string;
  readonly mac: string;
  readonly bridge: string;
}

export function listCommand(): Command {
  return new Command('list')
    .alias('ls')
    .description('show the vifs of this domain, as the store has them')
    .addOption(jsonOption())
    .addOption(sharedOption('store'))
    .action(list);
}

async function list(options: { json?: boolean; store?: string }): Promise<void> {
  await using store = await openStore(options.store === undefined ? {} : { path: options.store });
  using _says = saysWhenLost(store);
  const rows = await readVifs(store, await ownDomid(store));
  if (options.json === true) process.stdout.write(`${jsonLine({ schemaVersion: 1, vifs: rows })}\n`);
  else
    process.stdout.write(table(['vif', 'domain', 'backend', 'frontend', 'mac', 'bridge'], rows.map(legible)));
}

/** Returns the toolstack's texts for a table: names unchanged, all others quoted and shortened. */
function legible(row: VifRow): VifRow {
  return { ...row, domain: shown(row.domain), mac: shown(row.mac), bridge: shown(row.bridge) };
}

async function readVifs(store: Store, backendDomid: number): Promise<VifRow[]> {
  const root = backendVifRoot(backendDomid);
  const rows: VifRow[] = [];
  for (const domid of (await store.list(root)).sort(numeric)) {
    for (const handle of (await store.list(`${root}/${domid}`)).sort(numeric)) {
      rows.push(await readVif(store, `${root}/${domid}/${handle}`, domid, handle));
    }
  }
  return rows;
}

async function readVif(store: Store, path: string, domid: string, handle: string): Promise<VifRow> {
  const frontend = await store.read(`${path}/frontend`);
  return {
    vif: `vif${domid}.${handle}`,
    domain: (await readForeign(store, `/local/domain/${domid}/name`)) ?? '-',
    backend: stateName(await store.read(`${path}/state`)),
    frontend: frontend === undefined ? '-' : stateName(await readForeign(store, `${frontend}/state`)),
    mac: (await store.read(`${path}/mac`)) ?? '-',
    bridge: (await store.read(`${path}/bridge`)) ?? '-',
  };
}

function stateName(text: string | undefined): string {
  const state = parseXenbusState(text);
  return Object.entries(XenbusState).find(([, value]) => value === state)?.[0] ?? '-';
}

function numeric(a: string, b: string): number {
  return Number(a) - Number(b);
}
