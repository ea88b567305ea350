import { parseXenbusState, XenbusState } from '../../protocol/xenbus.js';
import { type FrontendSettings, isSameConnection } from '../settings.js';
import { readRings } from './handshake.js';
import type { StoreReader } from './known-keys.js';
import type { Offer } from './offer.js';
import { isDenied } from './removed-node.js';

/** A connection that another process served, and whose guest waits. */
export interface RecordedConnection {
  /** What it negotiated, as its journal records it. */
  readonly settings: FrontendSettings;
  /** The toolstack's rate; see `parseRate`. */
  readonly rate: string | undefined;
}

/**
 * Reads, in one round trip, whether the guest still has the connection that a journal records: a grant reference may be another device's by now.
 * The caller checks the backend's node.
 * @param frontend, backend their paths in the store.
 * @returns undefined if anything differs: then vifd attaches in the ordinary way, if at all.
 */
export async function readRecorded(
  store: StoreReader,
  { frontend, backend }: { readonly frontend: string; readonly backend: string },
  settings: FrontendSettings,
  offer: Offer,
): Promise<RecordedConnection | undefined> {
  try {
    const [state, rings, rate, withdrawn] = await Promise.all([
      store.read(`${frontend}/state`),
      readRings(store, frontend, settings.queues.length),
      store.read(`${backend}/rate`),
      offer.withdrawn(store, backend),
    ]);
    const isConnected = parseXenbusState(state) === XenbusState.Connected;
    if (!isConnected || rings === undefined || withdrawn.length > 0) return undefined;
    return isSameConnection(rings, settings) ? { settings, rate } : undefined;
  } catch (error) {
    // In a driver domain: the guest is gone, or it has made its keys unreadable.
    if (isDenied(error)) return undefined;
    throw error;
  }
}
