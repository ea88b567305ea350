import { RING_HEADER_WORDS, RING_RSP_PROD } from '../../lib/protocol/netif.js';
import { addToeplitz, fillToeplitz, TOEPLITZ_WORDS } from '../../lib/protocol/toeplitz.js';
import { ModelKilled } from '../../lib/testing/model/index.js';
import { type GuestFrame, type GuestRing, patternFrame, udpFrame } from './guest.mjs';
import type { VersionWorld } from './version-world.js';

export const HASH = {
  key: Buffer.from(Array.from({ length: 40 }, (_, i) => (i * 29 + 3) & 0xff)),
  mapping: [1, 0, 0, 1, 1, 0, 1, 0],
  types: 15,
};
export const OTHER_KEY = Buffer.from(HASH.key.map((byte) => byte ^ 0xff));
export const [LISTED, REMOVED, ALSO_LISTED] = ['33:33:00:00:00:01', '01:00:5e:00:00:fb', '33:33:ff:00:00:07'];
/** A group that the guest adds while its backend ends. */
export const ADDED = '33:33:00:01:00:03';
/** By queue: pages whose grants stay mapped. The pages behind those of frames and buffers. */
export const STAGED = [
  { write: [500], read: [502, 504] },
  { write: [503], read: [] },
] as const;
/** A page of the first queue that the guest asks to unmap. */
export const UNSTAGED = 501;

/** The queue and the hash that a frame has by a key: of both addresses, as netif.h has it for IPv4. */
export function placeOf(frame: Uint8Array, key: Uint8Array): { queue: number; hash: number } {
  const table = new Uint32Array(TOEPLITZ_WORDS);
  fillToeplitz(key, table);
  const hash = addToeplitz(table, 0, frame, 26, 8, 0) >>> 0;
  return { queue: HASH.mapping[hash % HASH.mapping.length]!, hash };
}

/** A datagram of one of four flows: of addresses, which are hashed for IPv4. */
export function flowFrame(text: string, flow: number): GuestFrame {
  const frame = udpFrame(text, 42 + text.length);
  frame[33] = 2 + flow;
  return frame;
}

export const FRAME_BYTES = 1000;
const framesFromGuest = (text: string, count: number) =>
  Array.from({ length: count }, (_, i) => patternFrame(`${text}, frame ${i}`, FRAME_BYTES));

/** How a backend ends, and which frames are pending then. */
export interface End {
  readonly name: string;
  /** `at` puts in all frames to the guest; without, frames wait for buffers by then. */
  readonly fills?: true;
  /** Frames that the guest sends. */
  readonly sends?: number;
  /** Of either direction, how many frames may come twice. */
  readonly repeatedAtMost?: number;
  /** Responses stand in a ring of frames and are not published: without the journal they would be read as requests. */
  readonly tears?: true;
  /** The guest's request for another key is still in the ring. */
  readonly asksForKey?: true;
  /** The guest's request to add ADDED to its list has no response yet. */
  readonly addsGroup?: true;
  /** The guest has asked to unmap a staged grant, and has no response yet. */
  readonly unstages?: true;
  /** Leads to the end. Kills the backend at the first step at which the returned predicate holds; without one the test kills it. */
  readonly at?: (world: VersionWorld) => (() => boolean) | undefined;
}

/** Holds once the ring has a response that is not published. */
function responseUnpublished(ringOf: () => GuestRing): () => boolean {
  const before = ringOf().words.slice();
  return () => {
    const { words } = ringOf();
    if (words[RING_RSP_PROD] !== before[RING_RSP_PROD]) return false;
    return words.subarray(RING_HEADER_WORDS).some((word, i) => word !== before[RING_HEADER_WORDS + i]);
  };
}

const SENT = 6;
export const SENT_BEFORE = 5;
const TEXT = 'to the guest, left';
/** The texts of the frames for the guest. */
export const LEFT = Array.from({ length: 12 }, (_, i) => `${TEXT} ${i}`);

export const STOPPED: End = { name: 'stopped' };
export const KILLED: End = { name: 'killed at rest' };

export const ENDS: readonly End[] = [
  STOPPED,
  KILLED,
  {
    name: 'killed while a batch is written',
    sends: SENT,
    // Two are written.
    repeatedAtMost: 2,
    at: (world) => {
      let count = 0;
      const [queue] = world.host.queues;
      queue!.onFrame = () => {
        if (++count < 3) return;
        world.kill();
        throw new ModelKilled('a frame is written');
      };
      world.guest.send(0, framesFromGuest('from the guest', SENT));
      return undefined;
    },
  },
  {
    name: 'killed after a commit from the guest',
    sends: SENT,
    tears: true,
    at: ({ guest }) => {
      guest.send(0, framesFromGuest('from the guest', SENT));
      return responseUnpublished(() => guest.queues[0]!.tx);
    },
  },
  {
    name: 'killed after a commit to the guest',
    tears: true,
    at: ({ guest }) => {
      guest.post(0, 2);
      return responseUnpublished(() => guest.queues[0]!.rx);
    },
  },
  {
    name: 'killed while sorting',
    fills: true,
    // A frame is in the journal of the queue that reads it, and in that of the queue that its hash chooses.
    repeatedAtMost: 1,
    at: (world) => {
      world.killAt(() => ['q0', 'q1'].every((queue) => world.journal(`vif7.0.${queue}`).includes(TEXT)));
      fill(world);
      return undefined;
    },
  },
  {
    name: 'killed while a group is added',
    addsGroup: true,
    at: (world) => {
      const { tx } = world.guest.queues[0]!;
      const responses = tx.words[RING_RSP_PROD];
      const bytes = Buffer.from(ADDED.replaceAll(':', ''), 'hex');
      const stored = Buffer.concat([bytes.subarray(0, 2), Buffer.alloc(2), bytes.subarray(2)]);
      world.guest.multicastLater(ADDED, true);
      return () => tx.words[RING_RSP_PROD] === responses && world.journal('vif7.0').includes(stored);
    },
  },
  {
    name: 'killed while a key is written',
    asksForKey: true,
    at: (world) => {
      const { ring } = world.guest.control!;
      const responses = ring.words[RING_RSP_PROD];
      world.guest.setKeyLater(OTHER_KEY);
      return () =>
        ring.words[RING_RSP_PROD] === responses &&
        world.journal('vif7.0').includes(OTHER_KEY.subarray(0, 4)) &&
        world.journal('vif7.0').includes(HASH.key);
    },
  },
  {
    name: 'killed after a commit of the control ring',
    unstages: true,
    at: ({ guest }) => {
      guest.unstageLater(0, [UNSTAGED]);
      return responseUnpublished(() => guest.control!.ring);
    },
  },
];

/** Has a guest set all state that a backend stores, and send. */
export async function program({ guest }: Pick<VersionWorld, 'guest'>): Promise<void> {
  await guest.setHash(HASH);
  for (const [queue, { write, read }] of STAGED.entries()) {
    await guest.stage(queue, write, 'write');
    if (read.length > 0) await guest.stage(queue, read, 'read');
  }
  await guest.stage(0, [UNSTAGED], 'write');
  for (const group of [LISTED, REMOVED, ALSO_LISTED]) await guest.multicast(group, true);
  await guest.multicast(REMOVED, false);
}

/** Frames that are sent before the end: they count against the rate. */
export async function sendBefore({ guest }: VersionWorld): Promise<void> {
  await guest.sendAndWait(0, framesFromGuest('before', SENT_BEFORE));
}

/** A frame with its hash takes two of the guest's slots. */
const SLOTS_A_FRAME = 2;

/** Puts in more frames than the guest has buffers: it has them for one in each queue. */
export function fill(world: VersionWorld, texts: readonly string[] = LEFT): void {
  for (const queue of world.guest.queues.keys()) world.guest.post(queue, SLOTS_A_FRAME);
  world.put(framesOf(texts));
}

/** Posts the buffers that the other frames of `fill` need, and no more. */
export function postForRest({ guest }: VersionWorld, texts: readonly string[] = LEFT): void {
  const places = framesOf(texts).map((frame) => placeOf(frame, HASH.key).queue);
  for (const queue of guest.queues.keys()) {
    const frames = places.filter((place) => place === queue).length;
    guest.post(queue, (frames - 1) * SLOTS_A_FRAME);
  }
}

const framesOf = (texts: readonly string[]) => texts.map((text, i) => flowFrame(text, i % 4));

/** Ends the backend. @throws when the instant never came. */
export async function end(world: VersionWorld, how: End): Promise<void> {
  const { name, at } = how;
  if (how === STOPPED) return world.stop();
  const isThere = at?.(world);
  if (isThere !== undefined) world.killAt(isThere);
  await world.settle();
  if (at === undefined) world.kill();
  for (const queue of world.host.queues) queue.onFrame = () => {};
  world.killAt(() => false);
  if (!world.killed) throw new Error(`${name}: this instant never came`);
}
