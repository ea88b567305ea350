import type { Journals } from '../lib/durable/journal.js';
import { JOURNAL_VERSION } from '../lib/durable/layout.js';
import { type Batches, newBatches } from '../lib/netback/frames/batch-memory.js';
import { type QueueCounters, VifCounters } from '../lib/netback/frames/counters.js';
import type { FrontendSettings } from '../lib/netback/settings.js';
import { type ConnectionJournals, VifJournals } from '../lib/netback/state/connection-journals.js';
import { openCounterPage } from '../lib/netback/state/counter-page.js';
import type { QueueJournal } from '../lib/netback/state/queue-journal.js';
import type { VifAddress } from '../lib/netback/vif-info.js';
import type { Grants } from '../lib/xen/seam.js';
import type { BenchGuest } from './guest.js';
import { GUEST } from './machines.js';

const VIF: VifAddress = { id: `vif${GUEST}.0`, domid: GUEST, handle: 0 };

/** What Linux's xen-netfront asks for, with one queue. */
export function settingsOf({ txRef, rxRef }: BenchGuest): FrontendSettings {
  return {
    queues: [{ txRingRef: txRef, rxRingRef: rxRef, txPort: 1, rxPort: 2 }],
    ...{ scatterGather: true, gsoV4: true, gsoV6: true, checksumV4: true, checksumV6: true },
    ...{ rxNotify: true, multicastControl: false, xdpHeadroom: 0, control: undefined },
  };
}

/** The memory of a connection: in journals, as `vifd run` has it by default, or in memory that ends with the process. */
export interface ConnectionMemory {
  readonly queue: QueueJournal | undefined;
  readonly vif: ConnectionJournals['vif'];
  readonly batches: Batches;
  readonly counters: QueueCounters;
  close(): void;
}

/** @param journals undefined: no journal. @throws VifdError ERR_JOURNAL. */
export function connectionMemory(
  settings: FrontendSettings,
  grants: Grants,
  journals: Journals | undefined,
): ConnectionMemory {
  const fail = (error: unknown) => {
    throw error;
  };
  const vifJournals = new VifJournals({
    journals,
    vif: VIF,
    version: JOURNAL_VERSION,
    onError: fail,
    onIgnored: ({ message }) => fail(new Error(message)),
  });
  const opened = vifJournals.open(settings);
  const queue = opened.queues[0];
  const counters = new VifCounters(() => 0);
  const page = journals && openCounterPage(journals, VIF);
  if (page !== undefined) counters.use(page.counts);
  const batches: Batches =
    queue === undefined
      ? newBatches((bytes) => grants.arena(bytes))
      : { fromGuest: queue.fromGuest.frames, toGuest: queue.toGuest.frames, end: () => {} };
  return {
    queue,
    vif: opened.vif,
    batches,
    counters: counters.of(0),
    close: () => {
      batches.end();
      page?.close();
      opened.close();
    },
  };
}
