import { type Done, run } from '../drive/process.js';
import { cpuTime } from './cpu.js';
import type { Subject } from './subjects.js';

export const WARM_UP_SECONDS = 4;

export interface Effort {
  readonly rounds: number;
  readonly tcpSeconds: number;
  readonly udpSeconds: number;
  readonly pings: number;
  /** Runs of WARM_UP_SECONDS before TCP is measured in a direction. */
  readonly warmUps: { readonly least: number; readonly most: number };
}

/**
 * A direction gets faster for the first 30 to 40 s of a vifd process: V8 compiles, and the emulator translates new code. Those seconds do not
 * matter for a daemon that serves for weeks. `lab/tests/speed.ts` has less time.
 */
const WARM = { least: 8, most: 12 };
export const EFFORT: Effort = { rounds: 5, tcpSeconds: 8, udpSeconds: 4, pings: 40, warmUps: WARM };
export const QUICK: Effort = { rounds: 1, tcpSeconds: 8, udpSeconds: 3, pings: 20, warmUps: WARM };

/** The measurements, in the order of the table. `better`: whether higher or lower is better. */
export const MEASURES = [
  { key: 'tcpFrom', title: 'TCP from guest, Mbit/s', better: 'more' },
  { key: 'tcpTo', title: 'TCP to guest, Mbit/s', better: 'more' },
  { key: 'udp1400FromSent', title: 'UDP 1400 B from guest, sent/s', better: 'more' },
  { key: 'udp1400From', title: '  received/s', better: 'more' },
  { key: 'udp1400ToSent', title: 'UDP 1400 B to guest, sent/s', better: 'more' },
  { key: 'udp1400To', title: '  received/s', better: 'more' },
  { key: 'udp64FromSent', title: 'UDP 64 B from guest, sent/s', better: 'more' },
  { key: 'udp64From', title: '  received/s', better: 'more' },
  { key: 'udp64ToSent', title: 'UDP 64 B to guest, sent/s', better: 'more' },
  { key: 'udp64To', title: '  received/s', better: 'more' },
  { key: 'pingAverage', title: 'ping, average ms', better: 'less' },
  { key: 'pingMin', title: '  minimum ms', better: 'less' },
  { key: 'cpuFrom', title: 'backend CPU, TCP from guest, %', better: 'less' },
  { key: 'cpuTo', title: '  TCP to guest, %', better: 'less' },
  { key: 'dom0From', title: 'dom0 CPU, TCP from guest, ms/MB', better: 'less' },
  { key: 'dom0To', title: '  TCP to guest, ms/MB', better: 'less' },
] as const;

export type Key = (typeof MEASURES)[number]['key'];
export type Values = Partial<Record<Key, number>>;

type Direction = 'From' | 'To';

/** One turn of a subject that serves. A part that fails is left out and reported: the other parts of the turn still count. */
export async function measure(
  subject: Subject,
  effort: Effort,
  say: (text: string) => void,
): Promise<Values> {
  const values: Values = {};
  const part = async (what: string, work: () => Promise<Values>): Promise<void> => {
    try {
      const found = await work();
      Object.assign(values, found);
      const shown = Object.values(found).map((value) => (value < 100 ? value.toFixed(1) : value.toFixed(0)));
      say(`${subject.name}: ${what} ${shown.join(' ')}`);
    } catch (error) {
      say(`${subject.name}: ${what} failed: ${(error as Error).message}`);
    }
  };
  await reach(subject);
  for (const direction of ['From', 'To'] as const) {
    // Just before, because the warm-up of one direction is lost after the other one.
    await warmUp(subject, direction, effort.warmUps);
    await part(`TCP ${direction.toLowerCase()} guest`, () => tcp(subject, effort.tcpSeconds, direction));
  }
  for (const size of [1400, 64] as const) {
    await part(`UDP ${size} B from guest`, () => udp(subject, effort.udpSeconds, size, 'From'));
    await part(`UDP ${size} B to guest`, () => udp(subject, effort.udpSeconds, size, 'To'));
  }
  await part('ping', () => ping(subject, effort.pings));
  return values;
}

/** Addresses are learned again after a change of the backend. */
async function reach({ name, address }: Subject): Promise<void> {
  const { code } = await run('ping', '-q', '-c', '3', '-i', '0.2', '-w', '30', address);
  if (code !== 0) throw new Error(`${name}: ${address} does not respond`);
}

/** The backend is warm once a run is not faster than the best run before it by this factor. */
const WARMER = 1.15;

async function warmUp(
  subject: Subject,
  direction: Direction,
  { least, most }: Effort['warmUps'],
): Promise<void> {
  let best = 0;
  for (let times = 1; times <= most; times++) {
    const { sum_received: received } = await iperf(subject, direction, '-t', `${WARM_UP_SECONDS}`);
    const rate = received?.bits_per_second ?? 0;
    if (times >= least && rate < best * WARMER) return;
    best = Math.max(best, rate);
  }
}

interface IperfReport {
  readonly error?: string;
  readonly end: {
    readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number };
    readonly sum?: { readonly packets: number; readonly lost_packets: number; readonly seconds: number };
  };
}

async function iperf(
  { address }: Subject,
  direction: Direction,
  ...options: string[]
): Promise<IperfReport['end']> {
  const reverse = direction === 'From' ? ['-R'] : [];
  const { code, output } = await run('iperf3', '-J', '-c', address, ...reverse, ...options);
  const report = parse(output);
  if (code !== 0 || report.error !== undefined) throw new Error(report.error ?? `iperf3 ended with ${code}`);
  return report.end;
}

function parse(output: string): IperfReport {
  try {
    return JSON.parse(output) as IperfReport;
  } catch {
    throw new Error(`iperf3 printed: ${output.slice(0, 200)}`);
  }
}

async function tcp(subject: Subject, seconds: number, direction: Direction): Promise<Values> {
  const pids = subject.pids();
  const before = cpuTime(pids);
  const began = performance.now();
  const { sum_received: received } = await iperf(subject, direction, '-t', `${seconds}`);
  const elapsedMs = performance.now() - began;
  const after = cpuTime(pids);
  if (received === undefined) throw new Error('iperf3 reported no bytes');
  return {
    [`tcp${direction}`]: received.bits_per_second / 1e6,
    [`cpu${direction}`]: (100 * (after.own - before.own)) / elapsedMs,
    [`dom0${direction}`]: (after.dom0 - before.dom0) / (received.bytes / 1e6),
  };
}

/** As fast as the sender can. */
async function udp(
  subject: Subject,
  seconds: number,
  size: 64 | 1400,
  direction: Direction,
): Promise<Values> {
  const { sum } = await iperf(subject, direction, '-u', '-b', '0', '-l', `${size}`, '-t', `${seconds}`);
  if (sum === undefined) throw new Error('iperf3 reported no packets');
  return {
    [`udp${size}${direction}Sent`]: sum.packets / sum.seconds,
    [`udp${size}${direction}`]: (sum.packets - sum.lost_packets) / sum.seconds,
  };
}

async function ping({ address }: Subject, count: number): Promise<Values> {
  const { output }: Done = await run('ping', '-q', '-c', `${count}`, '-i', '0.1', address);
  const [, min, average] = output.match(/= ([\d.]+)\/([\d.]+)\//) ?? [];
  if (min === undefined) throw new Error(output.trim());
  return { pingAverage: Number(average), pingMin: Number(min) };
}
