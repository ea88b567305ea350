import type { VifdErrorCode } from '../errors.js';
import type { NetbackListeners } from '../netback/netback.js';
import { jsonLine, printable } from '../text.js';
import { systemClock } from '../xen/native/clock.js';
import { faultJson, statsJson } from './details-json.js';
import { isJournald } from './journald.js';
import { LogLimit } from './log-limit.js';
import { Output } from './output.js';
import type { RunEvent } from './run-event.js';
import { isNotServed, type Served, servedText } from './served.js';

/** A take-over of vifs by a worker from one that died. */
export interface TakeOver {
  /** Of the process that serves them. */
  readonly pid: number;
  /** Of the one that died. */
  readonly from: number;
  readonly vifs: readonly string[];
  /** From the death's notice until all of them were served. */
  readonly gapMs: number;
}

export interface EventLog extends Omit<NetbackListeners, 'gone'>, Disposable {
  ready(served: Served): void;
  /** Reports a vif that was removed while no vifd ran. */
  swept(vif: string): void;
  stopping(): void;
  /** Reports that the process did not run for this time. */
  late(lateMs: number): void;
  /** Call it when the state of a vif has changed that a worker serves: the worker's own log has the line. */
  changed(): void;
  workerStarted(pid: number, standby: boolean): void;
  /** @param how the process ended. @param vifs those that it served. */
  workerDied(pid: number, how: string, vifs: readonly string[]): void;
  tookOver(takeOver: TakeOver): void;
  /** Reports a vif that is not served for this time, because its workers died. */
  parked(vif: string, reason: string, pauseMs: number): void;
}

/** Returns the listeners of a log by their names: a log does more than listen, and a netback refuses events that it does not have. */
export function listenersOf(log: Omit<NetbackListeners, 'gone'>): Omit<NetbackListeners, 'gone'> {
  const { attached, detached, recovered, error, mended } = log;
  return { attached, detached, recovered, error, mended };
}

export type Level = 'error' | 'warning' | 'info';

/** The levels' numbers for syslog(3), which journald reads at the beginning of a line (sd-daemon(3)). */
const PRIORITIES: Record<Level, number> = { error: 3, warning: 4, info: 6 };

/** Errors that cost no guest its network, or only a guest that caused the error. */
const WARNINGS: ReadonlySet<VifdErrorCode> = new Set([
  'ERR_HOOK',
  'ERR_JOURNAL',
  'ERR_JOURNAL_VERSION',
  'ERR_PACED',
  'ERR_QUERY',
  'ERR_SERVICE_MANAGER',
  'ERR_STALLED',
  'ERR_TAP_LIMIT',
]);

/** The most characters of a line for people, and of the message in a JSON line. */
const LINE_MAX = 1000;

/** The most vifs that a line for people names. */
const NAMES_MAX = 8;

interface Line {
  readonly level: Level;
  readonly vif?: string | undefined;
  /** Lines of one kind are limited together; without a kind a line is always written. */
  readonly kind?: string;
  readonly text: string;
  readonly event: RunEvent;
}

export interface LogOptions {
  readonly json: boolean;
  /** The process's id if it is a worker. JSON lines have it, since all workers write into one log. */
  readonly worker?: number;
  readonly output?: Pick<Output, 'line' | typeof Symbol.dispose>;
  /** Writes bytes to a descriptor; default: the addon does. */
  readonly write?: ConstructorParameters<typeof Output>[2];
  /** Monotonic ms. */
  readonly now?: () => number;
  /** Whether journald reads the lines for people. */
  readonly journald?: boolean;
}

/**
 * Returns the log of `vifd run`: sentences on stderr for people, or one JSON object a line on stdout for programs. Each vif's lines are
 * limited (`LogLimit`), a line has no control characters, and a slow reader delays nothing (`Output`).
 */
export function eventLog({ json, worker, now = systemClock.now, ...options }: LogOptions): EventLog {
  const prefixed = !json && (options.journald ?? isJournald(2));
  const asLine = ({ level, text, event }: Line): string => {
    if (json) return jsonLine({ schemaVersion: 1, timeMs: Date.now(), level, worker, ...event });
    return `${prefixed ? `<${PRIORITIES[level]}>` : ''}${cut(printable(text))}`;
  };
  const lost = (lines: number): string =>
    asLine({
      level: 'warning',
      text: `${lines} lines were lost because this log's reader was too slow, or gone`,
      event: { event: 'lost', lines },
    });
  const output = options.output ?? new Output(json ? 1 : 2, lost, options.write);
  const limit = new LogLimit(now, ({ vif, lines, ms, last }) => {
    const text = `${vif ?? 'vifd'}: ${lines} lines left out in ${Math.ceil(ms / 1000)} s; the last: ${last}`;
    output.line(asLine({ level: 'warning', text, event: { event: 'left-out', vif, lines, ms, last } }));
  });
  const write = (line: Line) => {
    const { vif, kind, text } = line;
    if (kind === undefined || limit.admits(vif, kind, cut(printable(text)))) output.line(asLine(line));
  };
  return {
    ready: (served) => {
      const { vifs, faults } = served;
      write({
        level: 'info',
        text: servedText(served),
        event: {
          event: 'ready',
          vifs: [...vifs.keys()],
          notServed: [...vifs.values()].filter(isNotServed).map(({ id, reason }) => ({ vif: id, reason })),
          faults: faults.map(faultJson),
        },
      });
    },
    swept: (vif) =>
      write({
        level: 'info',
        vif,
        kind: 'swept',
        text: `${vif} is gone: its tap and journal were removed`,
        event: { event: 'swept', vif },
      }),
    late: (lateMs) =>
      write({
        level: 'warning',
        kind: 'late',
        text:
          `vifd did not run for ${Math.round(lateMs)} ms, and its guests waited: it was stopped or frozen, or the host had no ` +
          'processor for it. Nothing is to be done if that was meant; else look at the load of the host.',
        event: { event: 'late', lateMs },
      }),
    changed: () => {},
    workerStarted: (pid, standby) =>
      write({
        level: 'info',
        kind: 'worker-started',
        text: `worker ${pid} started${standby ? ', as the standby' : ''}`,
        event: { event: 'worker-started', pid, standby },
      }),
    workerDied: (pid, how, vifs) =>
      write({
        level: 'error',
        kind: 'worker-died',
        text: `worker ${pid} died (${how}); ${vifs.length === 0 ? 'it served no vif' : `it served ${namesText(vifs)}`}`,
        event: { event: 'worker-died', pid, how, vifs },
      }),
    tookOver: ({ pid, from, vifs, gapMs }) =>
      write({
        level: 'info',
        kind: 'took-over',
        text: `worker ${pid} has taken ${namesText(vifs)} over from ${from} in ${gapMs.toFixed(1)} ms`,
        event: { event: 'took-over', pid, from, gapMs, vifs },
      }),
    parked: (vif, reason, pauseMs) =>
      write({
        level: 'error',
        vif,
        kind: 'parked',
        text: reason,
        event: { event: 'parked', vif, reason: cut(reason), pauseMs },
      }),
    stopping: () =>
      write({ level: 'info', text: 'detaching; guests stay connected', event: { event: 'stopping' } }),
    attached: (vif, { resumed, attachMs }) =>
      write({
        level: 'info',
        vif: vif.id,
        kind: 'attached',
        text: `${vif.id} ${resumed ? 'attached again' : 'attached'} in ${attachMs.toFixed(1)} ms`,
        event: { event: 'attached', vif: vif.id, resumed, attachMs },
      }),
    detached: (vif, why) =>
      write({
        level: 'info',
        vif: vif.id,
        kind: `detached ${why}`,
        text: `${vif.id} detached: ${why}`,
        event: { event: 'detached', vif: vif.id, why, stats: statsJson(vif.stats) },
      }),
    recovered: (vif, queue) =>
      write({
        level: 'info',
        vif: vif.id,
        kind: 'recovered',
        text: `${vif.id} takes frames again${vif.queueStats.length > 1 ? ` by queue ${queue}` : ''}`,
        event: { event: 'recovered', vif: vif.id, queue },
      }),
    mended: (error, vif) => {
      const { code } = error;
      const message = cut(error.message);
      const id = vif?.id ?? error.vif;
      const text = id !== undefined && message.startsWith(`${id}: `) ? message.slice(id.length + 2) : message;
      write({
        level: 'info',
        vif: id,
        kind: `mended ${code}`,
        text: `${id === undefined ? '' : `${id}: `}mended: ${text}`,
        event: { event: 'mended', vif: id, code, message },
      });
    },
    error: (error, vif) => {
      const { code } = error;
      const message = cut(error.message);
      const level = WARNINGS.has(code) ? 'warning' : 'error';
      write({
        level,
        // A vif that is not served yet has no object, only a name.
        vif: vif?.id ?? error.vif,
        kind: code,
        text: message,
        event: { event: 'error', vif: vif?.id ?? error.vif, code, message },
      });
    },
    [Symbol.dispose]: () => {
      limit[Symbol.dispose]();
      output[Symbol.dispose]();
    },
  };
}

function namesText(vifs: readonly string[]): string {
  const rest = vifs.length - NAMES_MAX;
  return `${vifs.slice(0, NAMES_MAX).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

function cut(text: string): string {
  return text.length <= LINE_MAX ? text : `${text.slice(0, LINE_MAX)}…`;
}
