import type { StoreView } from '../../xen/seam.js';

/** What a frontend can take from its backend, by the names of netif.h. */
export interface FrontFeatures {
  /** Frames over several slots. */
  readonly sg: boolean;
  /** Whether it takes TCP segments of up to 64 KiB over IPv4. */
  readonly gsoV4: boolean;
  /** Whether it takes TCP segments of up to 64 KiB over IPv6. */
  readonly gsoV6: boolean;
  /** Frames whose checksum the frontend completes. Over IPv4 it is on unless the frontend refuses it, over IPv6 off unless it offers it. */
  readonly checksumV4: boolean;
  /** Whether it takes IPv6 frames whose checksum is not complete. */
  readonly checksumV6: boolean;
}

/** What Linux's xen-netfront offers. */
export const ALL_FEATURES: FrontFeatures = {
  sg: true,
  gsoV4: true,
  gsoV6: true,
  checksumV4: true,
  checksumV6: true,
};

/** What a backend offers in its node, as netif.h names it. */
export interface BackendFeatures {
  /** Whether it copies into the guest's buffers; all backends do. */
  readonly copy: boolean;
  /** Whether it takes frames in several slots. */
  readonly sg: boolean;
  /** Whether it takes TCP segments of up to 64 KiB over IPv4. */
  readonly gsoV4: boolean;
  /** Whether it takes TCP segments of up to 64 KiB over IPv6. */
  readonly gsoV6: boolean;
  /** Whether it takes IPv6 frames whose checksum is not complete. */
  readonly checksumV6: boolean;
  /** Whether it takes an event channel for each ring. */
  readonly splitChannels: boolean;
  /** Whether it takes a control ring. */
  readonly control: boolean;
  /** Undefined if the backend does not offer several queues. */
  readonly queuesMax: number | undefined;
}

/** Reads what a backend offers in its node. @throws VifdError ERR_STORE. */
export async function readBackendFeatures(store: StoreView, backendPath: string): Promise<BackendFeatures> {
  const number = async (key: string) => Number((await store.read(`${backendPath}/${key}`)) ?? '0');
  const queues = await store.read(`${backendPath}/multi-queue-max-queues`);
  return {
    copy: (await number('feature-rx-copy')) === 1,
    sg: (await number('feature-sg')) === 1,
    gsoV4: (await number('feature-gso-tcpv4')) === 1,
    gsoV6: (await number('feature-gso-tcpv6')) === 1,
    checksumV6: (await number('feature-ipv6-csum-offload')) === 1,
    splitChannels: (await number('feature-split-event-channels')) === 1,
    control: (await number('feature-ctrl-ring')) === 1,
    queuesMax: queues === undefined ? undefined : Number(queues),
  };
}

/** The grants and event channels of a queue of this frontend. */
export interface QueueKeys {
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** One channel for both rings, or one for each. */
  readonly eventChannels: readonly [number] | readonly [number, number];
}

/** Writes everything that the backend reads when it connects. */
export async function writeFrontendKeys(
  view: StoreView,
  frontendPath: string,
  features: FrontFeatures,
  backend: BackendFeatures,
  queues: readonly QueueKeys[],
  control: ReadonlyArray<readonly [string, number]> = [],
): Promise<void> {
  const keys: (readonly [string, number])[] = [
    ...control,
    ['request-rx-copy', 1],
    ['feature-rx-notify', 1],
    ['feature-sg', Number(features.sg)],
    ['feature-gso-tcpv4', Number(features.gsoV4)],
    ['feature-gso-tcpv6', Number(features.gsoV6)],
    ['feature-ipv6-csum-offload', Number(features.checksumV6)],
    ['feature-no-csum-offload', Number(!features.checksumV4)],
  ];
  if (backend.queuesMax !== undefined) keys.push(['multi-queue-num-queues', queues.length]);
  // Keys of an earlier connection would contradict this one's.
  const stale = control.length === 0 ? [...QUEUE_KEYS, 'ctrl-ring-ref', 'event-channel-ctrl'] : QUEUE_KEYS;
  for (const key of stale) await view.rm(`${frontendPath}/${key}`);
  for (const folder of await view.list(frontendPath))
    if (folder.startsWith('queue-')) await view.rm(`${frontendPath}/${folder}`);
  // netif.h: with one queue its keys are at the top.
  queues.forEach((queue, index) => {
    const folder = queues.length === 1 ? '' : `queue-${index}/`;
    for (const [key, value] of keysOf(queue)) keys.push([`${folder}${key}`, value]);
  });
  for (const [key, value] of keys) await view.write(`${frontendPath}/${key}`, String(value));
}

const QUEUE_KEYS = ['tx-ring-ref', 'rx-ring-ref', 'event-channel', 'event-channel-tx', 'event-channel-rx'];

function keysOf({ txRingRef, rxRingRef, eventChannels }: QueueKeys): [string, number][] {
  const [first, second] = eventChannels;
  const rings: [string, number][] = [
    ['tx-ring-ref', txRingRef],
    ['rx-ring-ref', rxRingRef],
  ];
  if (second === undefined) return [...rings, ['event-channel', first]];
  return [...rings, ['event-channel-tx', first], ['event-channel-rx', second]];
}
