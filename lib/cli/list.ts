import { Command } from 'commander';
import type { VifWorker } from '../daemon/details-json.js';
import { readForeign } from '../daemon/foreign.js';
import { saysWhenLost } from '../daemon/open-xen.js';
import { ask } from '../daemon/query.js';
import { VifdError } from '../errors.js';
import { backendVifRoot, parseXenbusState, XenbusState } from '../protocol/xenbus.js';
import { jsonLine, printable, shown } from '../text.js';
import type { Store } from '../xen/seam.js';
import { openStore } from '../xen/store/client.js';
import { ownDomid } from '../xen/store/own-domid.js';
import { jsonOption, sharedOption } from './options.js';
import { duration } from './show-text.js';
import { table } from './table.js';

/** A vif as `vifd list --json` prints it; docs/schemas/list.json describes it. */
interface VifRow {
  readonly vif: string;
  readonly domain: string;
  readonly backend: string;
  readonly frontend: string;
  readonly mac: string;
  readonly bridge: string;
  readonly worker?: { readonly pid: number };
  readonly parked?: { readonly retryMs: number; readonly reason: string };
}

export function listCommand(): Command {
  return new Command('list')
    .alias('ls')
    .description(
      'show the vifs of this domain, as the store has them, and which worker of the running vifd serves each',
    )
    .addOption(jsonOption())
    .addOption(sharedOption('journal'))
    .addOption(sharedOption('store'))
    .action(list);
}

async function list(options: { json?: boolean; journal: string; store?: string }): Promise<void> {
  await using store = await openStore(options.store === undefined ? {} : { path: options.store });
  using _says = saysWhenLost(store);
  const workers = await readWorkers(options.journal);
  const rows = (await readVifs(store, await ownDomid(store))).map((row) => {
    const { worker, reason, parked } = workers.find(({ id }) => id === row.vif) ?? {};
    return {
      ...row,
      ...(worker && { worker }),
      ...(parked && { parked: { ...parked, reason: reason ?? '' } }),
    };
  });
  if (options.json === true) process.stdout.write(`${jsonLine({ schemaVersion: 1, vifs: rows })}\n`);
  else process.stdout.write(asText(rows, workers.length > 0));
}

/** Returns which worker serves each vif; empty if no vifd runs, or if one process serves all. */
async function readWorkers(directory: string): Promise<readonly VifWorker[]> {
  try {
    return await ask<readonly VifWorker[]>(directory, { ask: 'workers' });
  } catch (error) {
    const code = error instanceof VifdError ? error.code : undefined;
    // ERR_ARGUMENT: a vifd of an older version, which has no workers to name.
    if (code === 'ERR_NOT_RUNNING' || code === 'ERR_ARGUMENT') return [];
    // What the store has is of use without this.
    process.stderr.write(`vifd: ${printable(String((error as Error).message))}\n`);
    return [];
  }
}

/** @param hasWorkers without them the table has no column for them. */
function asText(rows: readonly VifRow[], hasWorkers: boolean): string {
  const columns = ['vif', 'domain', 'backend', 'frontend', 'mac', 'bridge'] as const;
  if (!hasWorkers) return table(columns, rows.map(legible));
  const parked = rows.flatMap((row) =>
    row.parked === undefined ? [] : [`${printable(row.parked.reason)}\n`],
  );
  const text = table(
    [...columns, 'worker'],
    rows.map((row) => ({ ...legible(row), worker: workerText(row) })),
  );
  return `${text}${parked.join('')}`;
}

function workerText({ worker, parked }: VifRow): string {
  if (parked !== undefined) return `parked, tried again in ${duration(parked.retryMs)}`;
  return worker === undefined ? '-' : `${worker.pid}`;
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
