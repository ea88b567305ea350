import type { VifdEvent } from './vifd.js';

/** An entry of the journal, of which `journalctl -o json` writes one a line. */
export interface JournalEntry {
  /** A list of bytes where it is no text. */
  readonly MESSAGE?: string | readonly number[];
  /** As in syslog(3), in digits. */
  readonly PRIORITY?: string;
  readonly __REALTIME_TIMESTAMP?: string;
}

/** Priorities from this one on are no errors (LOG_NOTICE). */
const NOTICE = 5;

const LINES: readonly (readonly [RegExp, (match: RegExpExecArray) => Omit<VifdEvent, 'timeMs'>])[] = [
  [/^serving \d+ vifs?/, () => ({ event: 'ready' })],
  [/^detaching; /, () => ({ event: 'stopping' })],
  [
    /^(vif\S+) attached( again)? in /,
    ([, vif, again]) => ({ event: 'attached', vif: vif ?? '', resumed: again !== undefined }),
  ],
  [/^(vif\S+) detached: /, ([, vif]) => ({ event: 'detached', vif: vif ?? '' })],
  [
    /^worker (\d+) started(, as the standby)?$/,
    ([, pid, standby]) => ({ event: 'worker-started', pid: Number(pid), standby: standby !== undefined }),
  ],
  [
    /^worker (\d+) has taken .* over from (\d+) in ([\d.]+) ms$/,
    ([, pid, from, gapMs]) => ({
      event: 'took-over',
      pid: Number(pid),
      from: Number(from),
      gapMs: Number(gapMs),
    }),
  ],
];

/** Returns the event of a line of the unit's log. A line with level warning or worse is an error, whatever its text. */
export function eventIn({ MESSAGE, PRIORITY, __REALTIME_TIMESTAMP }: JournalEntry): VifdEvent {
  const message = typeof MESSAGE === 'string' ? MESSAGE : Buffer.from(MESSAGE ?? []).toString();
  const timeMs = Number(__REALTIME_TIMESTAMP ?? 0) / 1000;
  if (Number(PRIORITY ?? NOTICE) < NOTICE) return { event: 'error', timeMs, message };
  for (const [pattern, told] of LINES) {
    const match = pattern.exec(message);
    if (match !== null) return { ...told(match), timeMs, message };
  }
  return { event: 'other', timeMs, message };
}
