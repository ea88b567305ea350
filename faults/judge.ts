import { setTimeout as sleep } from 'node:timers/promises';
import type { LogLine } from '../worlds/processes/daemon.js';
import { until } from '../worlds/processes/until.js';
import type { Row, Wanted } from './row.js';
import type { FaultWorld } from './world/fault-world.js';

export interface Verdict {
  readonly fault: string;
  readonly kind: Row['kind'];
  /** The matching line, and how long after the fault it came. */
  readonly line: string | undefined;
  readonly lineAfterMs: number | undefined;
  /** The time from the end of the cause to the guest's first reply. */
  readonly servedAfterMs: number | undefined;
  readonly mendedLine: string | undefined;
  readonly neighbour: { readonly sent: number; readonly lost: number; readonly worstMs: number };
  readonly left: readonly string[];
  /** All lines that vifd wrote meanwhile. */
  readonly log: readonly string[];
  readonly silent: boolean;
  readonly stuck: boolean;
  readonly leaked: boolean;
  /** Other failures: of the neighbour, of the protocol, of vifd's end. */
  readonly harmed: readonly string[];
  /** Whether the world must be built anew. */
  readonly broken: boolean;
  readonly tookMs: number;
}

const LINE_MS = 1000;
const SERVED_MS = 2000;
const LASTS_MS = 300;
/** vifd asks the hypervisor for a guest's domain when xenstored has been away for a second. */
const LOADS_MS = 1200;
/**
 * xensim has these open in a process from the first time on at which it needs them. A vif may come to a worker that had none of its guest before, and
 * each process asks for a domain when it needs to. A worker that ends takes them along.
 */
const OPENED_ONCE = /^(descriptors|mappings): [+-]1 \S+\/(domain-\d+|state)$/;
/** The longest time for an injection, which boots a guest at most. */
const STEP_MS = 20_000;
const LONG_STEP_MS = 120_000;
/** Two busy cores schedule a ping late by a few hundred ms now and then; a real disturbance of the neighbour lasts longer. */
const NEIGHBOUR_MS = 2000;

/** Injects one fault, removes its cause, and judges what vifd did. */
export async function judge(row: Row, world: FaultWorld): Promise<Verdict> {
  const { victim, neighbour } = world;
  if (row.loads === true && !world.loaded) {
    await row.inject(world);
    await sleep(LOADS_MS);
    await row.mend(world);
    // A lost connection is made again within a second, and its watches with it.
    await sleep(LOADS_MS);
    await world.settled();
    world.loaded = true;
  }
  if (row.restarts === true && world.loaded) {
    await world.restartDaemon();
    // vifd listens for queries from a second after its start on.
    await sleep(LOADS_MS);
    await world.settled();
  }
  const violationsBefore = world.guests.flatMap(({ violations }) => violations).length;
  const before = await world.holdings();
  const beganMs = Date.now();
  const linesBefore = world.lines.length;
  const since = () => world.lines.slice(linesBefore);

  const failures: string[] = [];
  const attempt = async <T>(what: string, work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await withinMs(work(), row.long ? LONG_STEP_MS : STEP_MS);
    } catch (error) {
      failures.push(`${what} failed: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  };

  const happenedMs = await attempt('the injection', () => row.inject(world));
  const injectedMs = typeof happenedMs === 'number' ? happenedMs : Date.now();
  const wanted = row.line;
  const found = () =>
    wanted === 'nothing to report'
      ? undefined
      : since().find((line) => says(wanted, victim.vif, line) && line.atMs <= injectedMs + LINE_MS);
  if (wanted !== 'nothing to report') await until(found, Math.max(0, injectedMs + LINE_MS + 50 - Date.now()));
  const line = found();
  await sleep(Math.max(0, (row.lastsMs ?? LASTS_MS) - (Date.now() - injectedMs)));

  const mendsItself = row.mendsItself === true || (row.mendsItself !== undefined && world.workers.length > 0);
  const mendedFrom = mendsItself ? linesBefore : world.lines.length;
  await attempt('the remedy', () => row.mend(world));
  const causeGoneMs = Date.now();
  // The cause may be gone before `mend` returns; the time counts from the later of the two.
  const servedMs = await victim.pings.servedAfter(causeGoneMs, SERVED_MS);
  const isEnd = (text: string) => {
    if (row.mended instanceof RegExp) return row.mended.test(text);
    return text.includes('mended: ') && wanted !== 'nothing to report' && wanted.cause.test(text);
  };
  const ending = () => world.lines.slice(mendedFrom).find(({ text }) => isEnd(text));
  const endIsLogged = row.mended !== 'not logged' && wanted !== 'nothing to report';
  if (endIsLogged) await until(ending, Math.max(0, causeGoneMs + SERVED_MS - Date.now()));
  const mendedLine = endIsLogged ? ending() : undefined;

  await attempt('tidying up', () => row.tidy?.(world));
  const leftovers = world.daemon.running ? await world.leftSince(before) : ['vifd ended'];
  // A new process may have fewer resources: it has not asked yet whether a domain exists.
  const allowed = [
    ...(row.restarts === true ? [/^(descriptors|mappings): -/] : []),
    ...(world.workers.length > 0 ? [OPENED_ONCE] : []),
  ];
  const left = leftovers.filter((one) => !allowed.some((pattern) => pattern.test(one)));
  const endedMs = Date.now();
  const worstAllowedMs = row.neighbourMs ?? NEIGHBOUR_MS;
  // Waits for the replies to the last pings.
  const nearNow = () => neighbour.pings.between(beganMs, endedMs, world.restarts);
  await until(() => nearNow().lost === 0, worstAllowedMs);
  const near = nearNow();
  const violations = world.guests.flatMap(({ violations: all }) => all).slice(violationsBefore);
  const harmed = [
    ...failures,
    ...(near.lost > 0 ? [`the neighbour lost ${near.lost} of ${near.sent} pings`] : []),
    ...(near.worstMs > worstAllowedMs ? [`a ping of the neighbour took ${near.worstMs.toFixed(0)} ms`] : []),
    ...violations,
    ...(world.daemon.running ? [] : ['vifd ended']),
  ];
  const stuck = servedMs === undefined || (mendedLine === undefined && endIsLogged);
  return {
    fault: row.name,
    kind: row.kind,
    line: line?.text,
    lineAfterMs: line && Math.max(0, line.atMs - injectedMs),
    servedAfterMs: servedMs === undefined ? undefined : Math.max(0, servedMs - causeGoneMs),
    mendedLine: mendedLine?.text,
    neighbour: near,
    left,
    log: since().map(({ text }) => text),
    silent: line === undefined && wanted !== 'nothing to report',
    stuck,
    leaked: left.length > 0,
    harmed,
    broken: servedMs === undefined || left.length > 0 || harmed.length > 0,
    tookMs: Date.now() - beganMs,
  };
}

async function withinMs<T>(work: T | Promise<T>, ms: number): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      work,
      sleep(ms, undefined, { signal: late.signal }).then((): never => {
        throw new Error(`not done after ${ms} ms`);
      }),
    ]);
  } finally {
    late.abort();
  }
}

function says({ names, cause, remedy }: Wanted, victim: string, { text }: LogLine): boolean {
  const vif = names ?? new RegExp(`\\b${victim.replace('.', '\\.')}\\b`);
  return (vif === 'no vif' || vif.test(text)) && cause.test(text) && remedy.test(text);
}
