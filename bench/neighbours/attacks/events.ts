import { RING_REQ_EVENT } from '../../../lib/protocol/netif.js';
import type { Attack } from './attack.js';

const EVENTS = 2000;
const FLICKS = 20_000;

/** What a guest can do with event channels and ring indices alone. */
export const EVENT_ATTACKS: readonly Attack[] = [
  {
    name: 'events',
    does: 'notifies every queue and the control ring without a request',
    counts: 'events',
    begin: ({ queues, controlChannel }) => {
      return () => {
        for (let i = 0; i < EVENTS; i++) {
          queues[i % queues.length].channel.notify();
          controlChannel.notify();
        }
        return 2 * EVENTS;
      };
    },
  },
  {
    name: 'flick',
    does: 'takes a receive buffer back and posts it again',
    counts: 'changes',
    begin: ({ queues }) => {
      return () => {
        for (let i = 0; i < FLICKS; i++) {
          const { tx, rx } = queues[i % queues.length];
          rx.publish(rx.responded + (i & 1));
          tx.words[RING_REQ_EVENT] = tx.responded + 1;
        }
        for (const { channel } of queues) channel.notify();
        return FLICKS;
      };
    },
  },
  {
    name: 'rxnone',
    does: 'posts no receive buffers, while the host sends to it',
    counts: '-',
    receives: 10,
    begin: () => () => 0,
  },
];
