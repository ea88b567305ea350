import * as ctrl from '../../../lib/protocol/control.js';
import type { HostileGuest } from '../hostile-guest.js';
import type { Attack, Strike } from './attack.js';

/** Pages of the guest: what its requests point to, and from FIRST_LISTED on the grants that its lists name. */
const [KEY, MAPPING, LIST, HALF_LIST, FIRST_LISTED] = [0, 1, 2, 3, 60];
/** As Windows: RSS has a key of 40 bytes. */
const KEY_BYTES = 40;
const LIST_ENTRIES = 512;

type Request = readonly [type: number, ...data: number[]];

/** Fills the control ring again and again. `next` makes request number `n`. */
function flood(guest: HostileGuest, next: (n: number) => Request): Strike {
  const { control, controlChannel } = guest;
  let sent = 0;
  return () => {
    const room = control.free;
    for (let i = 0; i < room; i++) {
      put(guest, control.produced + i, next(sent + i));
    }
    control.publish(control.produced + room);
    controlChannel.notify();
    sent += room;
    return room;
  };
}

function put({ control }: HostileGuest, index: number, [type, ...data]: Request): void {
  control.put(index, (index & 0xffff) | (type << 16), data[0] ?? 0, data[1] ?? 0, data[2] ?? 0);
}

/** Sets hashing up before the flood, so that the flood changes what is in use. */
function withHashing(guest: HostileGuest): void {
  const { control, controlChannel } = guest;
  guest.bytes(KEY).fill(0x5a, 0, KEY_BYTES);
  guest.words(MAPPING).forEach((_, i, words) => {
    words[i] = i % guest.queues.length;
  });
  const requests: Request[] = [
    [ctrl.CTRL_SET_HASH_ALGORITHM, ctrl.HASH_ALGORITHM_TOEPLITZ],
    [ctrl.CTRL_SET_HASH_FLAGS, ctrl.HASH_TYPES],
    [ctrl.CTRL_SET_HASH_MAPPING_SIZE, ctrl.HASH_MAPPING_MAX],
  ];
  requests.forEach((request, i) => {
    put(guest, i, request);
  });
  control.publish(requests.length);
  controlChannel.notify();
}

/** Writes a list of grants into a page: every `step`th of those that may be listed. @returns how many. */
function list(guest: HostileGuest, page: number, step: number): number {
  const words = guest.words(page);
  for (let i = 0; i < LIST_ENTRIES / step; i++) {
    words[2 * i] = guest.ref(FIRST_LISTED + i * step);
    words[2 * i + 1] = 0;
  }
  return LIST_ENTRIES / step;
}

/** What a guest can ask over the control ring (netif.h). */
export const CONTROL_ATTACKS: readonly Attack[] = [
  {
    name: 'ctlkey',
    does: 'sets the hash key',
    counts: 'requests',
    begin: (guest) => {
      withHashing(guest);
      return flood(guest, () => [ctrl.CTRL_SET_HASH_KEY, guest.ref(KEY), KEY_BYTES]);
    },
  },
  {
    name: 'ctlmap',
    does: 'sets all of the hash mapping',
    counts: 'requests',
    begin: (guest) => {
      withHashing(guest);
      return flood(guest, () => [ctrl.CTRL_SET_HASH_MAPPING, guest.ref(MAPPING), ctrl.HASH_MAPPING_MAX, 0]);
    },
  },
  {
    name: 'ctlgref',
    does: 'adds 512 grants to those that stay mapped, and removes them',
    counts: 'requests',
    begin: (guest) => {
      const entries = list(guest, LIST, 1);
      return flood(guest, (n) => {
        const type = n % 2 === 0 ? ctrl.CTRL_ADD_GREF_MAPPING : ctrl.CTRL_DEL_GREF_MAPPING;
        return [type, (n >> 1) % guest.queues.length, guest.ref(LIST), entries];
      });
    },
  },
  {
    name: 'ctlfrag',
    does: 'adds 512 grants to those that stay mapped, and removes and adds every second one again',
    counts: 'requests',
    begin: (guest) => {
      const entries = list(guest, LIST, 1);
      const half = list(guest, HALF_LIST, 2);
      return flood(guest, (n) => {
        const queues = guest.queues.length;
        if (n < queues) return [ctrl.CTRL_ADD_GREF_MAPPING, n, guest.ref(LIST), entries];
        const type = n % 2 === 0 ? ctrl.CTRL_DEL_GREF_MAPPING : ctrl.CTRL_ADD_GREF_MAPPING;
        return [type, (n >> 1) % queues, guest.ref(HALF_LIST), half];
      });
    },
  },
];
