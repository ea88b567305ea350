import { XenbusState } from '../../../lib/protocol/xenbus.js';
import type { Attack } from './attack.js';

/** Store writes that are under way at once. */
const WRITES = 200;
/** How often it reads the backend's state before it stops waiting for it. */
const LOOKS_FOR_INIT_WAIT = 200;
const LOOKS_FOR_CONNECTED = 50;
/** Grant references beyond those of any table of the simulated Xen. */
const NOT_GRANTED = 60_000;

/** What a guest can do in the store. */
export const STORE_ATTACKS: readonly Attack[] = [
  {
    name: 'toggle',
    does: 'leaves and connects again without a pause',
    counts: 'toggles',
    begin: (guest) => async () => {
      await guest.say(XenbusState.Initialising);
      await guest.sees(XenbusState.InitWait, LOOKS_FOR_INIT_WAIT);
      for (const { tx, rx } of guest.queues) for (const ring of [tx, rx]) ring.reset();
      await guest.say(XenbusState.Connected);
      await guest.sees(XenbusState.Connected, LOOKS_FOR_CONNECTED);
      return 1;
    },
  },
  {
    name: 'noring',
    does: 'connects with a ring that it has not granted, again and again',
    counts: 'tries',
    begin: (guest) => {
      let tries = 0;
      return async () => {
        tries += 1;
        await guest.say(XenbusState.Initialising);
        await guest.sees(XenbusState.InitWait, LOOKS_FOR_INIT_WAIT);
        // Another reference each time: a fault that stands is logged once.
        await guest.write('queue-0/tx-ring-ref', `${NOT_GRANTED + (tries % 1000)}`);
        await guest.say(XenbusState.Connected);
        await guest.sees(XenbusState.Closed, LOOKS_FOR_CONNECTED);
        return 1;
      };
    },
  },
  {
    name: 'rings',
    does: 'writes its ring keys anew while it is connected',
    counts: 'changes',
    begin: (guest) => {
      const [{ channel }] = guest.queues;
      let changes = 0;
      return async () => {
        changes += 1;
        await guest.write('queue-0/event-channel', `${channel.port}`);
        await guest.write('multi-queue-num-queues', `${changes % 2 === 0 ? guest.queues.length : 1}`);
        await guest.say(XenbusState.Connected);
        return 1;
      };
    },
  },
  {
    name: 'watch',
    does: 'writes the state that it has',
    counts: 'writes',
    queues: 1,
    begin: (guest) => async () => {
      await Promise.all(Array.from({ length: WRITES }, () => guest.say(XenbusState.Connected)));
      return WRITES;
    },
  },
  {
    name: 'wconnect',
    does: 'asks for multicast control, and not, in turns',
    counts: 'writes',
    queues: 1,
    begin: (guest) => async () => {
      const writes = Array.from({ length: WRITES }, (_, i) =>
        guest.write('request-multicast-control', `${i & 1}`),
      );
      await Promise.all(writes);
      return WRITES;
    },
  },
];
