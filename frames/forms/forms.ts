import { HEADERS, type Headers, type Layer } from './headers.js';
import { PROTOCOLS, type Protocol } from './protocols.js';
import { TAGS, type Tags } from './tags.js';

/** Headers x tags x protocol: the properties that the frames of a cell share, in both directions. */
export interface Form {
  readonly headers: Headers;
  readonly tags: Tags;
  readonly protocol: Protocol;
}

export const FROM_GUEST = 'from-guest';
export const TO_GUEST = 'to-guest';
export type Direction = typeof FROM_GUEST | typeof TO_GUEST;

/** @param quick only the headers that stand for their kind. */
export function forms(quick: boolean): Form[] {
  const headers = HEADERS.filter((one) => !quick || one.quick === true);
  return headers.flatMap((one) =>
    TAGS.flatMap((tags) => PROTOCOLS.map((protocol) => ({ headers: one, tags, protocol }))),
  );
}

export function nameOf({ headers, tags, protocol }: Form): string {
  return `${headers.name} | ${tags.name} | ${protocol.name}`;
}

/** @returns the IP version of the transport header's datagram. */
export function innerVersion({ headers }: Form): 4 | 6 {
  return headers.inner ?? (headers.place === 'tunnel' ? 4 : headers.version);
}

/** @returns all layers of the frame. @param tcpOptions bytes of TCP options. */
export function layersOf({ headers, tags, protocol }: Form, transport: Record<string, number>): Layer[] {
  return [['eth', {}], ...tags.layers, ...headers.layers, [protocol.transport, transport]];
}

/**
 * Returns the layer whose checksum is open. netif has no csum_start: a guest's csum_blank means the outermost transport header, a port's
 * csum_start the innermost.
 */
export function openLayer(layers: readonly Layer[], direction: Direction): number {
  if (direction === TO_GUEST) return layers.length - 1;
  const outermost = layers.findIndex(([name]) => name === 'tcp' || name === 'udp');
  return outermost < 0 ? layers.length - 1 : outermost;
}
