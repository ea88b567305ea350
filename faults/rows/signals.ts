import { setTimeout as sleep } from 'node:timers/promises';
import { COPY, type Row } from '../row.js';

const kind = 'signals';
const setting = COPY;
const STOPPED_MS = 3000;

/** A signal that is no reason to end. */
function ignored(signal: NodeJS.Signals, line: Row['line'], more: Partial<Row> = {}): Row {
  return {
    name: signal,
    kind,
    setting,
    line,
    mended: 'not logged',
    inject: ({ daemon }) => daemon.signal(signal),
    mend: () => undefined,
    ...more,
  };
}

export const signalRows: readonly Row[] = [
  ignored('SIGHUP', { names: 'no vif', cause: /SIGHUP/, remedy: /SIGTERM/ }, { short: true }),
  ignored('SIGUSR1', { names: 'no vif', cause: /SIGUSR1/, remedy: /SIGTERM/ }),
  ignored('SIGWINCH', 'nothing to report'),
  ignored('SIGPIPE', 'nothing to report'),
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
