import type { Store, StoreView } from '../xen/types.js';

/** What the frontend asked for when it connected (netif.h), checked. Single queue. */
export interface FrontendSettings {
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** Two different ports, or the same one twice. */
  readonly txPort: number;
  readonly rxPort: number;
  readonly scatterGather: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  /** The guest tells when it posts receive buffers. */
  readonly rxNotify: boolean;
  /** Only the multicast frames that the guest named shall reach it. It may change its mind (`MULTICAST_KEY`). */
  readonly multicastControl: boolean;
  /** Bytes. Read again when the guest says that it reconfigures. */
  readonly xdpHeadroom: number;
}

/** A key that a connected guest may change at any time. */
export const MULTICAST_KEY = 'request-multicast-control';
const HEADROOM_KEY = 'xdp-headroom';

export type Handshake =
  | { readonly ok: true; readonly settings: FrontendSettings }
  | { readonly ok: false; readonly reason: string };

/**
 * What a new backend offers. Keys with '0' are there because an earlier backend (the kernel's) may have
 * left a '1' that a guest would believe.
 */
const FEATURES: ReadonlyArray<readonly [string, string]> = [
  ['feature-rx-copy', '1'],
  ['feature-rx-flip', '0'],
  ['feature-sg', '1'],
  ['feature-gso-tcpv4', '1'],
  ['feature-gso-tcpv6', '1'],
  ['feature-ipv6-csum-offload', '1'],
  ['feature-split-event-channels', '1'],
  ['multi-queue-max-queues', '1'],
  ['feature-multicast-control', '1'],
  ['feature-dynamic-multicast-control', '1'],
  ['feature-ctrl-ring', '0'],
  ['feature-xdp-headroom', '1'],
];

/** Each frame says in an extra how much it has, so a guest that asks for more is served with this. Linux asks for 256. */
const HEADROOM_MAX = 2048;

export async function readHeadroom(store: StoreView, frontend: string): Promise<number> {
  return headroomOf(await store.read(`${frontend}/${HEADROOM_KEY}`));
}

function headroomOf(text: string | undefined): number {
  return Math.min(unsigned(text) ?? 0, HEADROOM_MAX);
}

/** Writes the features below the backend's path: all or none. */
export async function advertise(store: Store, backendPath: string): Promise<void> {
  await store.transaction(async (view) => {
    for (const [key, value] of FEATURES) await view.write(`${backendPath}/${key}`, value);
  });
}

/** Reads and checks what the frontend wrote. The guest writes these nodes: nothing of them is trusted. */
export async function readFrontend(store: StoreView, path: string): Promise<Handshake> {
  const keys = new Map<string, string | undefined>();
  await Promise.all(FRONTEND_KEYS.map(async (key) => keys.set(key, await store.read(`${path}/${key}`))));
  const refuse = (reason: string): Handshake => ({ ok: false, reason });

  const queues = keys.get('multi-queue-num-queues');
  if (queues !== undefined && queues !== '1')
    return refuse(`multi-queue-num-queues is '${queues}', 1 is offered`);
  if (keys.get('request-rx-copy') !== '1')
    return refuse('request-rx-copy is not 1: page flipping is not served');
  const txRingRef = unsigned(keys.get('tx-ring-ref'));
  const rxRingRef = unsigned(keys.get('rx-ring-ref'));
  if (txRingRef === undefined)
    return refuse(`tx-ring-ref is '${keys.get('tx-ring-ref') ?? ''}', not a grant reference`);
  if (rxRingRef === undefined)
    return refuse(`rx-ring-ref is '${keys.get('rx-ring-ref') ?? ''}', not a grant reference`);
  const both = unsigned(keys.get('event-channel'));
  const txPort = unsigned(keys.get('event-channel-tx')) ?? both;
  const rxPort = unsigned(keys.get('event-channel-rx')) ?? both;
  if (txPort === undefined || rxPort === undefined)
    return refuse('event-channel, or event-channel-tx and -rx, is missing');

  const has = (key: string) => keys.get(key) === '1';
  return {
    ok: true,
    settings: {
      txRingRef,
      rxRingRef,
      txPort,
      rxPort,
      scatterGather: has('feature-sg'),
      gsoV4: has('feature-gso-tcpv4'),
      gsoV6: has('feature-gso-tcpv6'),
      checksumV4: !has('feature-no-csum-offload'),
      checksumV6: has('feature-ipv6-csum-offload'),
      rxNotify: has('feature-rx-notify'),
      multicastControl: has(MULTICAST_KEY),
      xdpHeadroom: headroomOf(keys.get(HEADROOM_KEY)),
    },
  };
}

const FRONTEND_KEYS = [
  'tx-ring-ref',
  'rx-ring-ref',
  'event-channel',
  'event-channel-tx',
  'event-channel-rx',
  'request-rx-copy',
  'multi-queue-num-queues',
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-no-csum-offload',
  'feature-ipv6-csum-offload',
  'feature-rx-notify',
  MULTICAST_KEY,
  HEADROOM_KEY,
] as const;

function unsigned(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= 0xffffffff ? value : undefined;
}

/**
 * What a guest negotiated with another backend, and we do not serve.
 * @returns why the vif cannot be taken over as it is; undefined when it can.
 */
export async function unservable(store: StoreView, frontend: string): Promise<string | undefined> {
  const handshake = await readFrontend(store, frontend);
  if (!handshake.ok) return handshake.reason;
  const control = await store.read(`${frontend}/ctrl-ring-ref`);
  return control === undefined ? undefined : 'its guest has a control ring, which is not served';
}
