import { quoted } from '../../text.js';
import {
  type ControlSettings,
  type FrontendSettings,
  QUEUES_MAX,
  type QueueSettings,
  XDP_HEADROOM_MAX,
} from '../settings.js';
import type { StoreReader } from './known-keys.js';

/** A key that a connected guest may change at any time. */
export const MULTICAST_KEY = 'request-multicast-control';
const HEADROOM_KEY = 'xdp-headroom';

export type Handshake =
  | { readonly ok: true; readonly settings: FrontendSettings }
  | { readonly ok: false; readonly reason: string };

function headroomOf(text: string | undefined): number {
  return Math.min(unsigned(text) ?? 0, XDP_HEADROOM_MAX);
}

/**
 * Reads and checks the keys that the frontend wrote. The guest controls these nodes, so vifd trusts none of them.
 * @param backend the path below which a backend, this process or another, has written its offer.
 */
export async function readFrontend(store: StoreReader, path: string, backend: string): Promise<Handshake> {
  const offer = `${backend}/${QUEUES_MAX_KEY}`;
  const keys = await readKeys(store, path, FRONTEND_KEYS, [offer]);
  const offered = Math.min(unsigned(keys.get(offer)) ?? 1, QUEUES_MAX);
  const refuse = (reason: string): Handshake => ({ ok: false, reason });

  const count = unsigned(keys.get(QUEUES_KEY) ?? '1');
  if (count === undefined || count < 1)
    return refuse(`${QUEUES_KEY} is ${quoted(keys.get(QUEUES_KEY) ?? '')}, not a number of queues`);
  if (count > Math.max(offered, 1)) return refuse(`${QUEUES_KEY} is '${count}', ${offered} is offered`);
  if (keys.get('request-rx-copy') !== '1')
    return refuse('request-rx-copy is not 1: page flipping is not served');
  const queues = count === 1 ? [queueIn(keys, '')] : await readQueues(store, path, count);
  const wrong = queues.find((queue) => typeof queue === 'string');
  if (wrong !== undefined) return refuse(wrong);
  const control = controlIn(keys);
  if (typeof control === 'string') return refuse(control);

  const has = (key: string) => keys.get(key) === '1';
  return {
    ok: true,
    settings: {
      queues: queues.filter((queue) => typeof queue !== 'string'),
      scatterGather: has('feature-sg'),
      gsoV4: has('feature-gso-tcpv4'),
      gsoV6: has('feature-gso-tcpv6'),
      checksumV4: !has('feature-no-csum-offload'),
      checksumV6: has('feature-ipv6-csum-offload'),
      rxNotify: has('feature-rx-notify'),
      multicastControl: has(MULTICAST_KEY),
      xdpHeadroom: headroomOf(keys.get(HEADROOM_KEY)),
      control,
    },
  };
}

const QUEUES_KEY = 'multi-queue-num-queues';
export const QUEUES_MAX_KEY = 'multi-queue-max-queues';
/** The keys of each queue: below `queue-N`, or at the top if there is one queue (netif.h). */
const QUEUE_KEYS = [
  'tx-ring-ref',
  'rx-ring-ref',
  'event-channel',
  'event-channel-tx',
  'event-channel-rx',
] as const;
export const FRONTEND_KEYS = [
  ...QUEUE_KEYS,
  'request-rx-copy',
  QUEUES_KEY,
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-no-csum-offload',
  'feature-ipv6-csum-offload',
  'feature-rx-notify',
  MULTICAST_KEY,
  HEADROOM_KEY,
  'ctrl-ring-ref',
  'event-channel-ctrl',
] as const;

/**
 * Reads only a connection's rings and event channels, in one round trip.
 * @param count how many queues the connection has. @returns undefined if it has another number by now, or rings that cannot be served.
 */
export async function readRings(
  store: StoreReader,
  path: string,
  count: number,
): Promise<Pick<FrontendSettings, 'queues' | 'control'> | undefined> {
  const folders = count === 1 ? [''] : foldersOf(count);
  const names = folders.flatMap((folder) => QUEUE_KEYS.map((key) => `${folder}${key}`));
  const keys = await readKeys(store, path, [QUEUES_KEY, 'ctrl-ring-ref', 'event-channel-ctrl', ...names]);
  if (unsigned(keys.get(QUEUES_KEY) ?? '1') !== count) return undefined;
  const queues = folders.map((folder) => queueIn(keys, folder)).filter((queue) => typeof queue !== 'string');
  const control = controlIn(keys);
  return queues.length < count || typeof control === 'string' ? undefined : { queues, control };
}

type Keys = ReadonlyMap<string, string | undefined>;

/** Reads all keys in one round trip to the store. `others` are whole paths. */
async function readKeys(
  store: StoreReader,
  path: string,
  names: readonly string[],
  others: readonly string[] = [],
): Promise<Keys> {
  const paths = [...names.map((name) => `${path}/${name}`), ...others];
  const values = await store.readAll(paths);
  return new Map([...names, ...others].map((name, i) => [name, values[i]]));
}

async function readQueues(
  store: StoreReader,
  path: string,
  count: number,
): Promise<(QueueSettings | string)[]> {
  const folders = foldersOf(count);
  const names = folders.flatMap((folder) => QUEUE_KEYS.map((key) => `${folder}${key}`));
  const keys = await readKeys(store, path, names);
  return folders.map((folder) => queueIn(keys, folder));
}

function foldersOf(count: number): string[] {
  return Array.from({ length: count }, (_, queue) => `queue-${queue}/`);
}

/** @returns the queue's settings, or why it cannot be served. */
function queueIn(keys: Keys, folder: string): QueueSettings | string {
  const text = (key: (typeof QUEUE_KEYS)[number]) => keys.get(`${folder}${key}`);
  const txRingRef = unsigned(text('tx-ring-ref'));
  const rxRingRef = unsigned(text('rx-ring-ref'));
  if (txRingRef === undefined)
    return `${folder}tx-ring-ref is ${quoted(text('tx-ring-ref') ?? '')}, not a grant reference`;
  if (rxRingRef === undefined)
    return `${folder}rx-ring-ref is ${quoted(text('rx-ring-ref') ?? '')}, not a grant reference`;
  const both = unsigned(text('event-channel'));
  const txPort = unsigned(text('event-channel-tx')) ?? both;
  const rxPort = unsigned(text('event-channel-rx')) ?? both;
  if (txPort === undefined || rxPort === undefined)
    return `${folder}event-channel, or event-channel-tx and -rx, is missing`;
  return { txRingRef, rxRingRef, txPort, rxPort };
}

/** @returns the control ring's settings, or why it cannot be served; undefined if the guest has none. */
function controlIn(keys: Keys): ControlSettings | string | undefined {
  const [refText, portText] = [keys.get('ctrl-ring-ref'), keys.get('event-channel-ctrl')];
  if (refText === undefined) return undefined;
  const ringRef = unsigned(refText);
  if (ringRef === undefined) return `ctrl-ring-ref is ${quoted(refText)}, not a grant reference`;
  const port = unsigned(portText);
  return port === undefined
    ? `event-channel-ctrl is ${quoted(portText ?? '')}, not a port`
    : { ringRef, port };
}

function unsigned(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffffffff ? value : undefined;
}
