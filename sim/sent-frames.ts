import { type GuestPlan, SIM_QUEUES_MAX } from './scenario.js';

/** Connections of one guest, each with frames of its own. */
export const CONNECTIONS_MAX = 4;

/** The length of a frame from the guest. */
export function lengthOf({ sizes, scatterGather, mtuBytes }: GuestPlan, sequence: number): number {
  const length = sizes[sequence % sizes.length];
  return scatterGather ? length : Math.min(length, mtuBytes);
}

/** Seeds distinguish guests, connections, queues and directions. There are few, since each has a pattern of its own. */
export function seedOf(guest: number, connection: number, queue: number): number {
  return 1 + guest * SEEDS_OF_GUEST + connection * SIM_QUEUES_MAX + queue;
}

const SEEDS_OF_GUEST = (CONNECTIONS_MAX + 1) * SIM_QUEUES_MAX;

/** @returns the guest that a seed belongs to, of `guests`. */
export function guestOfSeed(seed: number, guests: number): number | undefined {
  const guest = Math.floor((seed - 1) / SEEDS_OF_GUEST);
  return guest >= 0 && guest < guests ? guest : undefined;
}
