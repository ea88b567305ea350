import { type GuestFrame, patternFrame } from './guest.mjs';
import {
  ADDED,
  type End,
  FRAME_BYTES,
  flowFrame,
  HASH,
  LISTED,
  OTHER_KEY,
  placeOf,
  REMOVED,
  STAGED,
  UNSTAGED,
} from './version-ends.js';
import { RATE, type VersionWorld } from './version-world.js';

/** Frames that were pending, or that the guest had sent. */
export interface Arrived {
  readonly of: number;
  readonly came: number;
  /** Of these frames and earlier ones, those that came twice. */
  readonly repeated: number;
}

/** What a backend found of the state that the one before it left. */
export interface Found {
  readonly toGuest: Arrived;
  readonly fromGuest: Arrived;
  readonly hash: boolean;
  readonly multicast: boolean;
  readonly staged: { readonly of: number; readonly mapped: number };
  /** In frames of FRAME_BYTES, of how many the rate has room for. */
  readonly credit: number;
}

function arrived(wanted: readonly string[], came: readonly string[]): Arrived {
  return {
    of: wanted.length,
    came: wanted.filter((text) => came.includes(text)).length,
    repeated: came.length - new Set(came).size,
  };
}

const textIn = (frame: Uint8Array, pattern: RegExp) =>
  pattern.exec(Buffer.from(frame).toString('latin1'))?.[0] ?? '';
const toGuestText = (frame: Uint8Array) => textIn(frame, /to the guest, [a-z ]+ \d+/);
const fromGuestText = (frame: Uint8Array) => textIn(frame, /from the guest, frame \d+/);

/** @returns whether new frames come by the queue and with the hash that the guest asked for. @throws when some do and others not. */
async function isHashed(world: VersionWorld, { asksForKey }: End): Promise<boolean> {
  const frames = Array.from({ length: 4 }, (_, flow) => flowFrame(`to the guest, hashed ${flow}`, flow));
  world.put(frames);
  await world.settle();
  const { received } = world;
  const results = frames.map((frame) => {
    const queue = received.findIndex((list) => list.some((one) => toGuestText(one) === frame.text));
    const hash = received[queue]?.find((one) => toGuestText(one) === frame.text)?.hash;
    const wanted = placeOf(frame, asksForKey ? OTHER_KEY : HASH.key);
    return hash === wanted.hash && queue === wanted.queue ? 'asked' : hash === undefined ? 'none' : 'wrong';
  });
  const [first] = results;
  if (first === 'wrong' || results.some((result) => result !== first))
    throw new Error(`hashes of four frames: ${results.join(', ')}`);
  return first === 'asked';
}

/** @returns whether the guest gets frames of the groups in its list, and no others. */
async function isFiltered(world: VersionWorld, { addsGroup }: End): Promise<boolean> {
  const frameTo = (group: string, index: number): GuestFrame => {
    const frame = patternFrame(`to the guest, group ${index}`, 60);
    frame.set(Buffer.from(group.replaceAll(':', ''), 'hex'));
    return frame;
  };
  const frames = [LISTED, REMOVED, ADDED].map(frameTo);
  world.put(frames);
  await world.settle();
  const texts = receivedTexts(world);
  const [listed, removed, added] = frames.map(({ text }) => texts.includes(text));
  if (!listed) throw new Error('a frame of a group that the guest has in its list did not come');
  const isAdded = added === (addsGroup === true);
  // Without a list nothing is filtered.
  if (!(removed ? added : isAdded)) throw new Error(`frames of the group that is added came: ${added}`);
  return !removed;
}

/**
 * Ends the guest's grants. @returns how many cannot be ended, since the backend has them mapped as the guest asked.
 * @throws if the backend still has the grant mapped that the guest asked to unmap.
 */
function staged({ guest }: VersionWorld, { unstages }: End): Found['staged'] {
  const isMapped = (page: number) => !guest.data.end(guest.ref(page));
  const pages = STAGED.flatMap(({ write, read }) => [...write, ...read]);
  const mapped = pages.filter(isMapped).length;
  const isUnstagedMapped = isMapped(UNSTAGED);
  if (!unstages) return { of: pages.length + 1, mapped: mapped + Number(isUnstagedMapped) };
  if (isUnstagedMapped) throw new Error('a grant that the guest took back is still mapped');
  return { of: pages.length, mapped };
}

/** @returns how many frames the guest may send before its rate delays them. */
async function creditLeft(world: VersionWorld): Promise<number> {
  const most = RATE.bytes / FRAME_BYTES;
  const frames = Array.from({ length: most + 1 }, (_, i) => patternFrame(`credit, frame ${i}`, FRAME_BYTES));
  const before = world.written.length;
  world.guest.send(0, frames);
  await world.settle();
  return world.written.length - before;
}

/** The texts of the frames that the guest received. */
export function receivedTexts(world: VersionWorld): string[] {
  return world.received.flat().map(toGuestText);
}

/**
 * Checks the backend that follows another one: by the guest's memory and by the host's end of the vif, not by what either backend reports
 * about itself.
 * @param pending the texts of the frames to the guest that the backend before had taken and not delivered.
 */
export async function look(world: VersionWorld, how: End, pending: readonly string[]): Promise<Found> {
  const { guest } = world;
  for (const queue of guest.queues.keys()) guest.post(queue, 48);
  await world.settle();
  const sent = Array.from({ length: how.sends ?? 0 }, (_, i) => `from the guest, frame ${i}`);
  const toGuest = arrived(pending, receivedTexts(world));
  const fromGuest = arrived(
    sent,
    world.written.map(fromGuestText).filter((text) => text !== ''),
  );
  const hash = await isHashed(world, how);
  const multicast = await isFiltered(world, how);
  const credit = await creditLeft(world);
  return { toGuest, fromGuest, hash, multicast, staged: staged(world, how), credit };
}
