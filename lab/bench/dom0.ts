import { readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { must, run } from '../drive/process.js';
import type { Effort } from './measure.js';
import { subjectsOf } from './subjects.js';
import { guestForTurns, takeTurns } from './turns.js';
import type { Results } from './xen-report.js';

/** The request of the host's side. */
export interface Request {
  readonly effort: Effort;
  /** Only subjects whose name is one of these; empty for all. */
  readonly only: readonly string[];
  /** Builds in addition to the checkout's own. */
  readonly builds: readonly { readonly name: string; readonly folder: string }[];
}

/** In dom0: `dom0.js REQUEST`. Prints progress on stdout, and writes Results to /mnt/out/results.json after each turn. */
async function main(): Promise<void> {
  const request = JSON.parse(process.argv[2] ?? '') as Request;
  const guest = await guestForTurns();
  const builds = [{ name: '', folder: '/mnt/vifd' }, ...request.builds];
  const all = await subjectsOf({ guest, builds });
  const subjects = all.filter(({ name }) => request.only.length === 0 || request.only.includes(name));
  if (subjects.length === 0) throw new Error(`choose among: ${all.map(({ name }) => name).join(', ')}`);
  const where = await facts();
  await takeTurns(
    subjects,
    request.effort,
    (text) => console.log(text),
    (turns) => {
      const results: Results = { where, subjects: subjects.map(({ name }) => name), turns };
      writeFileSync('/mnt/out/results.json', JSON.stringify(results));
    },
  );
}

async function facts(): Promise<Results['where']> {
  const info = await must('xl', 'info');
  const xen = (key: string) => info.match(new RegExp(`^${key} *: (.*)$`, 'm'))?.[1] ?? '?';
  const peer = await run('qemu-netback', '--version').catch(() => undefined);
  return {
    'lab: Xen': `${xen('xen_version')}, ${xen('nr_cpus')} emulated CPUs`,
    'lab: dom0 and guest': `Linux ${release()}, dom0 ${cpus()} vCPUs, guest PV 1 vCPU`,
    'lab: node': process.version,
    ...(peer === undefined ? {} : { 'lab: QEMU netback': peer.output.match(/version ([\d.]+)/)?.[1] ?? '?' }),
  };
}

function cpus(): number {
  return readFileSync('/proc/cpuinfo', 'utf8').match(/^processor\s/gm)?.length ?? 0;
}

await main();
