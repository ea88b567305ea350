/**
 * Guests that send as fast as they are served: `flooders.js LIBRARIES DOMID=QUEUES=STORE=BACKEND...`. They are one process,
 * so that the scheduler favours none. Sends a message to its parent when all are connected; replies to any message of its
 * parent with a Counted.
 */
import { RING_REQ_EVENT, RING_RSP_EVENT } from '../../lib/protocol/netif.js';
import { openXen } from '../../lib/xen/native/open.js';
import { fill, layOut, PLAIN_FRAME } from './attacks/frames.js';
import { HostileGuest, type HostileQueue } from './hostile-guest.js';
import { SINK_MAC } from './plan.js';

/** A flooder asks for an event after so many responses, as a driver that is short of slots. */
const EVENT_EVERY = 64;

const [libraries = '', ...guests] = process.argv.slice(2);
const flooders: HostileGuest[] = [];
for (const guest of guests) {
  const [domidText, queuesText, storePath = '', backend] = guest.split('=');
  const domid = Number(domidText);
  // The simulated Xen takes from the environment who opens it.
  process.env.XENSIM_DOMID = `${domid}`;
  const xen = await openXen({ domid, storePath, libraries });
  const flooder: HostileGuest = new HostileGuest({
    xen,
    backendDomid: Number(backend),
    queues: Number(queuesText),
    onEvent: (queue) => pump(flooder, queue),
  });
  flooders.push(flooder);
}
for (const flooder of flooders) {
  layOut(flooder, SINK_MAC);
  await flooder.connect();
}
for (const flooder of flooders) for (const queue of flooder.queues) pump(flooder, queue);

function pump(guest: HostileGuest, queue: HostileQueue): void {
  const { tx, channel } = queue;
  do {
    const old = tx.produced;
    fill(guest, queue, PLAIN_FRAME);
    tx.words[RING_RSP_EVENT] = tx.responded + EVENT_EVERY;
    const sent = (tx.produced - old) >>> 0;
    // RING_PUSH_REQUESTS_AND_CHECK_NOTIFY: vifd is notified when it waits, and left alone while it is at work.
    if ((tx.produced - tx.words[RING_REQ_EVENT]) >>> 0 < sent) channel.notify();
    // Responses that came before the event was asked for bring none.
  } while (tx.free >= EVENT_EVERY);
}

process.on('message', () => {
  const frames = flooders.map(({ queues }) => queues.reduce((sum, { tx }) => sum + tx.responded, 0));
  process.send?.({ frames, atMs: performance.now() });
});
process.on('disconnect', () => process.exit());
process.send?.({ connected: true });
