/**
 * A program that embeds vifd, as a firewall does, with a hook that misbehaves on request. It takes the options of `vifd run` that it needs,
 * and logs as `vifd run` does. The file `hook` in SYSTEM_FAULTS decides what the hook does to frames of vif7.0.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { eventLog, listenersOf } from '../../lib/daemon/run-log.js';
import { takeRunLock } from '../../lib/host/run-lock.js';
import { journalFiles, Netback, openXen, tap } from '../../lib/index.js';
import type { FrameHook } from '../../lib/netback/frames/frame.js';
import type { VifInfo } from '../../lib/netback/vif-info.js';

const VICTIM = 'vif7.0';
const HANG_MS = 500;
/** The hook is slow for one frame in this many: a hook that is slow for each would leave no time for anything else. */
const HANG_EVERY = 40;

const { values } = parseArgs({
  options: { journal: { type: 'string' }, store: { type: 'string' }, libraries: { type: 'string' } },
});
const { journal = '', store = '', libraries = '' } = values;
const file = join(process.env.SYSTEM_FAULTS ?? '', 'hook');
let hanging = 0;

const hook = ((_frame: unknown, _direction: unknown, vif: VifInfo) => {
  if (vif.id !== VICTIM) return 'pass';
  switch (wish()) {
    case 'throws':
      throw new Error('the hook has a defect');
    case 'hangs':
      hanging += 1;
      if (hanging % HANG_EVERY === 1) spin(HANG_MS);
      return 'pass';
    case 'async':
      return Promise.resolve('pass');
    case 'typo':
      return 'pas';
    case 'nothing':
      return [];
    default:
      return 'pass';
  }
}) as FrameHook;

const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const log = eventLog({ json: false });
using _lock = takeRunLock(journal);
const xen = await openXen({ storePath: store, libraries });
const netback = await Netback.open(
  {
    xen,
    port: ({ id, bridge }) =>
      tap({
        name: id,
        persist: true,
        up: true,
        mac: 'fe:ff:ff:ff:ff:ff',
        multiQueue: true,
        ...(bridge === undefined ? {} : { bridge }),
      }),
    queues: 2,
    journals: journalFiles(journal),
    hook,
    signal: stop.signal,
  },
  listenersOf(log),
);
log.ready(netback);

function wish(): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

function spin(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}
