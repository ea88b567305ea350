import { readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { Guest } from '../tests/guest.js';
import { must, run } from '../tests/process.js';
import { serve } from '../tests/traffic.js';
import { type Effort, measure } from './measure.js';
import type { Results, Turn } from './report.js';
import { type Subject, subjectsOf } from './subjects.js';

/** What the host's side asks for. */
export interface Request {
  readonly effort: Effort;
  /** Only subjects whose name is one of these; empty for all. */
  readonly only: readonly string[];
  /** Beside the checkout's own build. */
  readonly builds: readonly { readonly name: string; readonly folder: string }[];
}

/** In dom0: `dom0.js REQUEST`. Says how it goes on stdout, and writes Results to /mnt/out/results.json after each turn. */
const AUTOPROBE = '/sys/bus/xen-backend/drivers_autoprobe';

async function main(): Promise<void> {
  const request = JSON.parse(process.argv[2] ?? '') as Request;
  const guest = await Guest.running('g1');
  // From here on a driver serves the guest when it is told to.
  await writeFile(AUTOPROBE, '0');
  await must('guest', 'unbind', guest.name);
  await forgetTcpMetrics(guest);
  await serve(guest);
  const builds = [{ name: '', folder: '/mnt/vifd' }, ...request.builds];
  const all = await subjectsOf({ guest, builds });
  const subjects = all.filter(({ name }) => request.only.length === 0 || request.only.includes(name));
  if (subjects.length === 0) throw new Error(`choose among: ${all.map(({ name }) => name).join(', ')}`);
  await rounds(subjects, request.effort, await facts());
}

/** Else a connection begins with what the last one, over another backend, has learned of losses. */
async function forgetTcpMetrics(guest: Guest): Promise<void> {
  const file = '/proc/sys/net/ipv4/tcp_no_metrics_save';
  await writeFile(file, '1');
  await guest.exec(`echo 1 >${file}`);
}

/** Each subject once a round; there and back, so that none is always the one after another. */
async function rounds(subjects: readonly Subject[], effort: Effort, where: Results['where']): Promise<void> {
  const turns: Turn[] = [];
  for (let round = 0; round < effort.rounds; round++) {
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
      const say = (text: string) => console.log(`[${round + 1}/${effort.rounds}] ${text}`);
      await subject.begin();
      const values = await measure(subject, effort, say);
      await subject.end();
      turns.push({ round, subject: subject.name, values });
      const results: Results = { where, subjects: subjects.map(({ name }) => name), turns };
      writeFileSync('/mnt/out/results.json', JSON.stringify(results));
    }
  }
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
