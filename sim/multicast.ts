import type { Netfront } from '../lib/testing/netfront/index.js';

/** How many places of its multicast list a guest uses. full: all, and it asks for more. */
export type MulticastPlan = 'none' | 'few' | 'full';

/** netif.h leaves it open; Linux's netback has as many (XEN_NETBK_MCAST_MAX). */
const PLACES = 64;
/** How many addresses a guest uses in turn. */
const ADDRESSES: Record<MulticastPlan, number> = { none: 0, few: 12, full: PLACES + 16 };
/** How many frames are sent to check which of them come. */
const PROBES_MAX = 16;

interface Change {
  readonly how: 'add' | 'remove';
  readonly address: string;
}

/** Changes a guest's multicast list with each burst, and knows the expected list from the backend's responses. */
export class MulticastProgram {
  /** Responses that contradict the list. */
  readonly faults: string[] = [];
  readonly #front: Netfront;
  readonly #plan: MulticastPlan;
  readonly #queues: number;
  readonly #list = new Set<string>();
  #round = 0;
  #waiting = 0;

  /** @param queues that the guest has. */
  constructor(front: Netfront, plan: MulticastPlan, queues: number) {
    this.#front = front;
    this.#plan = plan;
    this.#queues = queues;
  }

  /** Whether the backend has responded to all changes. */
  get still(): boolean {
    return this.#waiting === 0;
  }

  /** Asks for other addresses than before, unless a change has no response yet. */
  next(): void {
    if (this.#plan === 'none' || !this.still) return;
    this.#round += 1;
    const changes = this.#plan === 'few' ? this.#someChanges() : this.#manyChanges();
    // Each round by one queue, since no protocol defines an order among queues.
    const queue = this.#round % this.#queues;
    this.#waiting = changes.length;
    const most = this.#list.size + changes.filter(({ how }) => how === 'add').length;
    for (const change of changes)
      void this.#front
        .changeMulticast(change.how, bytesOf(change.address), queue)
        .then((done) => this.#responded(change, done, most));
    this.#front.pump();
  }

  /** Returns the addresses that the backend must have in its list while `still`. */
  get size(): number {
    return this.#list.size;
  }

  /** @param list of the backend. @returns how it differs from the expected one. */
  differences(list: readonly string[]): string[] {
    const lacks = [...this.#list].filter((address) => !list.includes(address));
    const others = list.filter((address) => !this.#list.has(address));
    const differences: string[] = [];
    if (lacks.length > 0) differences.push(`the multicast list lacks ${lacks.join(' ')}`);
    if (others.length > 0)
      differences.push(`the multicast list has ${others.join(' ')}, which the guest has not`);
    if (new Set(list).size < list.length) differences.push('the multicast list has an address twice');
    return differences;
  }

  /** Returns addresses to send frames to: some of the list, and others. */
  get probes(): { readonly address: string; readonly wanted: boolean }[] {
    const addresses = Array.from({ length: ADDRESSES[this.#plan] }, (_, n) => addressOf(n));
    const wanted = addresses.filter((address) => this.#list.has(address)).slice(-PROBES_MAX / 2);
    const others = addresses.filter((address) => !this.#list.has(address)).slice(0, PROBES_MAX / 2);
    return [
      ...wanted.map((address) => ({ address, wanted: true })),
      ...others.map((address) => ({ address, wanted: false })),
    ];
  }

  /** Adds three addresses and removes others. Also adds one that is in the list already, and removes one that is not. */
  #someChanges(): Change[] {
    const of = (n: number) => addressOf((this.#round * 4 + n) % ADDRESSES.few);
    const add = (n: number): Change => ({ how: 'add', address: of(n) });
    const remove = (n: number): Change => ({ how: 'remove', address: of(n) });
    return [add(0), add(1), add(2), remove(1), add(3), add(2), remove(-2), remove(5)];
  }

  /** Adds more addresses than there is room for; from then on removes some, and adds more than it has removed. */
  #manyChanges(): Change[] {
    const of = (n: number) => addressOf((this.#round * 7 + n) % ADDRESSES.full);
    const adds = (first: number, count: number): Change[] =>
      Array.from({ length: count }, (_, n) => ({ how: 'add', address: of(first + n) }));
    if (this.#round === 1) return adds(0, PLACES + 2);
    const goes = [...this.#list].slice(0, 4).map((address): Change => ({ how: 'remove', address }));
    return [...goes, ...adds(PLACES - 2, 8)];
  }

  #responded({ how, address }: Change, done: boolean, most: number): void {
    this.#waiting -= 1;
    // A process that was killed may have added an address without a response, so that there is no room left.
    if (!done && (how === 'remove' || most <= PLACES)) this.faults.push(`refused to ${how} ${address}`);
    if (!done) return;
    if (how === 'add') this.#list.add(address);
    else this.#list.delete(address);
    if (this.#list.size > PLACES) this.faults.push(`added ${address} to a full list`);
  }
}

/** @returns an address as people write it. All of them have each byte different, so that halves of two make a third one. */
function addressOf(n: number): string {
  const bytes = [1 + 2 * n, 255 - n, n, n ^ 0x55, 128 ^ n, n + 7];
  return bytes.map((byte) => (byte & 0xff).toString(16).padStart(2, '0')).join(':');
}

export function bytesOf(address: string): Uint8Array {
  return Uint8Array.from(address.split(':'), (digits) => Number.parseInt(digits, 16));
}
