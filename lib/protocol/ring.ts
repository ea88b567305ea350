import * as netif from './netif.js';

/** What differs between the rings of netif. `size` is a power of two. */
export interface RingShape {
  readonly size: number;
  /** Words of a slot: of a request, which is never smaller than its response. */
  readonly slotWords: number;
  readonly requestWords: number;
  readonly responseWords: number;
}

export const TX_RING: RingShape = {
  size: netif.TX_RING_SIZE,
  slotWords: netif.TX_SLOT_WORDS,
  requestWords: 3,
  responseWords: 1,
};
export const RX_RING: RingShape = {
  size: netif.RX_RING_SIZE,
  slotWords: netif.RX_SLOT_WORDS,
  requestWords: 2,
  responseWords: 2,
};
