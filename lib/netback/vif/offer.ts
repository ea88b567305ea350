import { shown } from '../../text.js';
import type { StoreView } from '../../xen/seam.js';
import type { FrontendSettings } from '../settings.js';
import { type Handshake, QUEUES_MAX_KEY, readFrontend } from './handshake.js';
import type { StoreReader } from './known-keys.js';

/** What is offered to guests, by the keys of netif.h. */
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
export type Feature = (typeof FEATURES)[number];

/** Whether a key of the backend's node is one that only backends write: a change of it is no news to the backend. */
export function isOfBackend(key: string): boolean {
  return key.startsWith('feature-') || key === QUEUES_MAX_KEY || key === CARRIER_KEY;
}

/** Without copying nothing works; page flipping is gone from every backend, and an earlier one may have left its key. */
const FIXED = { 'feature-rx-copy': '1', 'feature-rx-flip': '0' };
/** Every backend offers this key, since no guest can be served without: in a node without it no backend has made its offer. */
export const OFFER_KEY = 'feature-rx-copy';

/** What a connected guest can be seen not to use. Of all else it may send what it was offered, and does not say so. */
const USED: Partial<Record<string, (settings: FrontendSettings) => boolean>> = {
  'feature-split-event-channels': ({ queues }) => queues.some(({ txPort, rxPort }) => txPort !== rxPort),
  'feature-multicast-control': ({ multicastControl }) => multicastControl,
  'feature-dynamic-multicast-control': ({ multicastControl }) => multicastControl,
  'feature-ctrl-ring': ({ control }) => control !== undefined,
  'feature-xdp-headroom': ({ xdpHeadroom }) => xdpHeadroom > 0,
};

/** What this backend offers, and what an earlier one offered that it does not. */
export class Offer {
  readonly #without: ReadonlySet<string>;

  constructor(without: readonly Feature[] = []) {
    this.#without = new Set(without);
  }

  /**
   * Writes the features below the backend's path. What is not offered is written as '0', since an earlier
   * backend (the kernel's) may have left a '1' that a guest would believe. The link is up until somebody says otherwise.
   * @param view of a transaction.
   */
  async advertise(view: StoreView, backendPath: string, queues: number): Promise<void> {
    const keys = {
      ...Object.fromEntries(FEATURES.map((key) => [key, this.#without.has(key) ? '0' : '1'])),
      ...FIXED,
      [QUEUES_MAX_KEY]: `${queues}`,
    };
    const carrier = `${backendPath}/${CARRIER_KEY}`;
    // At once: in a store that others keep changing, a short transaction is the one that commits.
    const [hasCarrier] = await Promise.all([
      view.read(carrier),
      ...Object.entries(keys).map(([key, value]) => view.write(`${backendPath}/${key}`, value)),
    ]);
    if (hasCarrier === undefined) await view.write(carrier, '1');
  }

  /** @returns features that the node offers and this backend does not have: another one wrote them. */
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

/** The link's state, for the guest (netif.h, "Link state"). Without it the link is up. */
export const CARRIER_KEY = 'carrier';

/**
 * Whether a guest can be served as it is: asked at each attach, and by who would take a vif over.
 * @param frontend, backend their paths in the store.
 * @param offer given, a guest to whom another backend offered more is refused.
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

/** A guest that was offered what it may use and is not there any more cannot be served as it is. */
function refuseWithout(handshake: Handshake, withdrawn: readonly string[]): Handshake {
  if (!handshake.ok) return handshake;
  const missing = withdrawn.filter((key) => USED[key]?.(handshake.settings) ?? true);
  if (missing.length === 0) return handshake;
  const keys = missing.map((key) => shown(key)).join(', ');
  return {
    ok: false,
    reason: `${keys} was offered by the backend before, and this one has it not; run that again`,
  };
}
