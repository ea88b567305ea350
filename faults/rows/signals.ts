import { setTimeout as sleep } from 'node:timers/promises';
import { COPY, type Row } from '../row.js';

const kind = 'signals';
const setting = COPY;
const STOPPED_MS = 3000;

/** A signal that vifd ignores: it neither ends nor opens a debugger. */
function ignored(signal: NodeJS.Signals, more: Partial<Row> = {}): Row {
  return {
    name: signal,
    kind,
    setting,
    line: 'nothing to report',
    inject: ({ daemon }) => daemon.signal(signal),
    mend: () => undefined,
    ...more,
  };
}

export const signalRows: readonly Row[] = [
  ignored('SIGHUP', { short: true }),
  ignored('SIGUSR1'),
  ignored('SIGWINCH'),
  ignored('SIGPIPE'),
  {
    name: 'vifd stopped for 3 s (SIGSTOP)',
    kind,
    setting,
    line: { names: 'no vif', cause: /stopped|not run|stood still/, remedy: /./ },
    mended: 'not logged',
    // One process serves all guests: while it is stopped, pings of each wait.
    neighbourMs: STOPPED_MS + 1000,
    inject: async ({ daemon }) => {
      daemon.signal('SIGSTOP');
      await sleep(STOPPED_MS);
      daemon.signal('SIGCONT');
    },
    mend: () => undefined,
  },
];
