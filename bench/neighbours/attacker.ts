/**
 * An attacker as a process: `attacker.js DOMID BACKEND STORE LIBRARIES MODE`. Sends `connected` to its parent and attacks until its
 * parent ends it; replies to any message of its parent with a Tally.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openXen } from '../../lib/xen/native/open.js';
import { ATTACKS } from './attacks/index.js';
import { HostileGuest } from './hostile-guest.js';
import { QUEUES } from './plan.js';

const [domid, backendDomid, storePath = '', libraries = '', mode] = process.argv.slice(2);
const attack = ATTACKS.find(({ name }) => name === mode);
if (attack === undefined) throw new Error(`no such mode of attack: ${mode}`);

const xen = await openXen({ domid: Number(domid), storePath, libraries });
const { queues = QUEUES } = attack;
const guest = new HostileGuest({ xen, backendDomid: Number(backendDomid), queues });
await guest.connect();
const strike = await attack.begin(guest);

let count = 0;
process.on('message', () => process.send?.({ count, atMs: performance.now() }));
process.on('disconnect', () => process.exit());
process.send?.({ connected: true });
for (;;) {
  const done = await strike();
  count += done;
  // An attack that does nothing does not keep a processor busy.
  await (attack.counts === '-' ? new Promise((resolve) => setTimeout(resolve, 50)) : nextTurn());
}
