import { shown } from '../../text.js';
import type { StoreView } from '../../xen/seam.js';
import type { FrontendSettings } from '../settings.js';
import { type Handshake, QUEUES_MAX_KEY, readFrontend } from './handshake.js';
import type { StoreReader } from './known-keys.js';

/** The features that vifd offers to guests, as keys of netif.h. */
const FEATURES = [
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-ipv6-csum-offload',
  'feature-split-event-channels',
  'feature-multicast-control',
  'feature-dynamic-multicast-control',
  'feature-ctrl-ring',
  'feature-xdp-headroom',
] as const;
/** A feature that vifd offers to guests, by its key in netif.h. */
export type Feature = (typeof FEATURES)[number];

/** Whether only backends write this key of the backend's node, so that its change needs no look. */
export function isOfBackend(key: string): boolean {
  return key.startsWith('feature-') || key === QUEUES_MAX_KEY || key === CARRIER_KEY;
}

/**
 * Keys that vifd always writes: every guest needs copying, and no backend supports page flipping any more, although an earlier one may have
 * left its key.
 */
const FIXED = { 'feature-rx-copy': '1', 'feature-rx-flip': '0' };
/** A key that every backend offers, since no guest can be served without it. If a node lacks it, no backend has made its offer. */
export const OFFER_KEY = 'feature-rx-copy';

/**
 * Features whose use shows in a connected guest's settings. A guest may use any other feature that it was offered without a sign of that.
 */
const USED: Partial<Record<string, (settings: FrontendSettings) => boolean>> = {
  'feature-split-event-channels': ({ queues }) => queues.some(({ txPort, rxPort }) => txPort !== rxPort),
  'feature-multicast-control': ({ multicastControl }) => multicastControl,
  'feature-dynamic-multicast-control': ({ multicastControl }) => multicastControl,
  'feature-ctrl-ring': ({ control }) => control !== undefined,
  'feature-xdp-headroom': ({ xdpHeadroom }) => xdpHeadroom > 0,
};

/** The features that this backend offers, and those that only an earlier one offered. */
export class Offer {
  readonly #without: ReadonlySet<string>;

  constructor(without: readonly Feature[] = []) {
    this.#without = new Set(without);
  }

  /**
   * Writes the features below the backend's path. A feature that is not offered is written as '0', because an earlier
   * backend (the kernel's) may have left a '1' that a guest would trust. The link is up until `setCarrier`.
   * @param view of a transaction.
   */
  async advertise(view: StoreView, backendPath: string, queues: number): Promise<void> {
    const keys = {
      ...Object.fromEntries(FEATURES.map((key) => [key, this.#without.has(key) ? '0' : '1'])),
      ...FIXED,
      [QUEUES_MAX_KEY]: `${queues}`,
    };
    const carrier = `${backendPath}/${CARRIER_KEY}`;
    // All requests at once: while others change the store, only a short transaction has a chance to commit.
    const [hasCarrier] = await Promise.all([
      view.read(carrier),
      ...Object.entries(keys).map(([key, value]) => view.write(`${backendPath}/${key}`, value)),
    ]);
    if (hasCarrier === undefined) await view.write(carrier, '1');
  }

  /** @returns the features that the node offers and this backend does not: another backend wrote them. */
  async withdrawn(view: StoreReader, backendPath: string): Promise<string[]> {
    const names = await view.list(backendPath);
    const strange = names.filter(
      (name) => name.startsWith('feature-') && !this.#has(name) && !(name in FIXED),
    );
    const values = await view.readAll(strange.map((name) => `${backendPath}/${name}`));
    return strange.filter((_name, index) => values[index] === '1');
  }

  #has(key: string): boolean {
    return FEATURES.some((feature) => feature === key) && !this.#without.has(key);
  }
}

/** The key of the link's state, for the guest (netif.h, "Link state"). Without the key the link is up. */
export const CARRIER_KEY = 'carrier';

/**
 * Returns whether this backend can serve a guest with its present settings: at each attach, and before `vifd adopt` and `vifd release`.
 * @param frontend, backend their paths in the store.
 * @param offer if given, a guest to which another backend offered more is refused.
 */
export async function readServable(
  view: StoreReader,
  frontend: string,
  backend: string,
  offer: Offer | undefined,
): Promise<Handshake> {
  const [handshake, withdrawn] = await Promise.all([
    readFrontend(view, frontend, backend),
    offer === undefined ? [] : offer.withdrawn(view, backend),
  ]);
  return refuseWithout(handshake, withdrawn);
}

/** Refuses a guest that may use a feature which another backend offered and this one does not. */
function refuseWithout(handshake: Handshake, withdrawn: readonly string[]): Handshake {
  if (!handshake.ok) return handshake;
  const missing = withdrawn.filter((key) => USED[key]?.(handshake.settings) ?? true);
  if (missing.length === 0) return handshake;
  const keys = missing.map((key) => shown(key)).join(', ');
  return {
    ok: false,
    reason:
      `the previous backend offered ${keys}, which this one does not support: start the previous backend again, or ` +
      'reconnect the guest',
  };
}
