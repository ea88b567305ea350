import type { Verdict } from './judge.js';
import { DIST, LIB, observed, treeWithout } from './mutant.js';
import type { Row } from './row.js';
import { runRows } from './run.js';
import { findSites, type Site } from './sites.js';

export interface WithoutParts {
  readonly rows: readonly Row[];
  /** Sites whose file or source contains it. */
  readonly only: string | undefined;
  readonly json: boolean;
  readonly signal: AbortSignal;
}

interface Outcome {
  readonly site: Site;
  /** The row that failed, and how. */
  readonly caughtBy: string | undefined;
  readonly how: string;
}

/** Calls that no row can meet, and why. */
const BEYOND: readonly { readonly file: string; readonly source: RegExp; readonly why: string }[] = [
  {
    file: 'daemon/run.ts',
    source: /^log\.error\(error, undefined\)\);/,
    why: "needs the kernel's xen-netback, which a simulated Xen has not",
  },
];

/**
 * Removes each report and each retry from vifd in turn, and runs the rows that reached it until one fails.
 * @returns whether a row failed for each.
 */
export async function runWithout({ rows, only, json, signal }: WithoutParts): Promise<boolean> {
  const sites = findSites(LIB, DIST).filter(
    ({ file, source }) => only === undefined || `${file} ${source}`.includes(only),
  );
  const write = (text: string) => process.stdout.write(`${text}\n`);
  const say = (text: string) => process.stderr.write(`${text}\n`);
  say(`${sites.length} calls; which rows meet them is seen first`);
  const met = await whichRowsMeet(sites, rows, signal, say);
  const outcomes: Outcome[] = [];
  const width = Math.max(...sites.map((site) => placeOf(site).length));
  for (const site of sites) {
    if (signal.aborted) return false;
    const outcome = await without(site, met.get(site) ?? [], signal);
    outcomes.push(outcome);
    if (json) write(JSON.stringify({ schemaVersion: 1, event: 'without', ...outcome, site: publicOf(site) }));
    else
      write(
        `${placeOf(site).padEnd(width)}  ${site.kind.padEnd(6)}  ${outcome.caughtBy ?? 'NOT CAUGHT'}  (${outcome.how})`,
      );
  }
  const missed = outcomes.filter(({ caughtBy }) => caughtBy === undefined).length;
  if (json)
    write(JSON.stringify({ schemaVersion: 1, event: 'summary', calls: sites.length, notCaught: missed }));
  else write(`${sites.length} calls taken out, ${missed} not caught`);
  return missed === 0;
}

/** Returns the rows that pass with the whole vifd, by the calls that vifd makes in them. */
async function whichRowsMeet(
  sites: readonly Site[],
  rows: readonly Row[],
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<Map<Site, Row[]>> {
  const met = new Map<Site, Row[]>();
  const { tree, made } = observed(sites);
  await runRows({
    rows,
    signal,
    tree,
    onBegin: () => void made(),
    onVerdict: (verdict, row) => {
      const wrong = howItFails(verdict);
      if (wrong !== undefined) say(`not used, since it fails with the whole vifd (${wrong}): ${row.name}`);
      else for (const site of made()) met.set(site, [...(met.get(site) ?? []), row]);
    },
  });
  return met;
}

async function without(site: Site, rows: readonly Row[], signal: AbortSignal): Promise<Outcome> {
  const beyond = BEYOND.find(({ file, source }) => site.file === file && source.test(site.source));
  if (beyond !== undefined) return { site, caughtBy: 'no row', how: beyond.why };
  if (rows.length === 0) return { site, caughtBy: undefined, how: 'no row meets it' };
  let caughtBy: string | undefined;
  let how = `${rows.length} rows met it and passed`;
  let running = rows[0] as Row;
  try {
    await runRows({
      rows,
      signal,
      tree: treeWithout(site),
      onBegin: (row) => {
        running = row;
      },
      onVerdict: (verdict) => {
        const wrong = howItFails(verdict);
        if (wrong === undefined) return true;
        caughtBy = verdict.fault;
        how = wrong;
        return false;
      },
    });
  } catch (error) {
    // The world did not start, or failed during the row.
    caughtBy = running.name;
    how = error instanceof Error ? error.message : String(error);
  }
  return { site, caughtBy, how };
}

function howItFails({ silent, stuck, leaked, harmed }: Verdict): string | undefined {
  const wrong = [silent && 'silent', stuck && 'stuck', leaked && 'leaked', harmed.length > 0 && 'harmed'];
  const words = wrong.filter((word) => word !== false).join(', ');
  return words === '' ? undefined : words;
}

function placeOf({ file, line, source }: Site): string {
  return `lib/${file}:${line}  ${source.length > 60 ? `${source.slice(0, 57)}...` : source}`;
}

function publicOf({ file, line, kind, source }: Site): object {
  return { file: `lib/${file}`, line, kind, source };
}
