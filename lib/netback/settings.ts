/** How frames cross between guest and process: copied, or by mapping the guest's pages. */
export type PayloadMode = 'map' | 'copy';

/**
 * How many queues a vif may have at all. More than Linux's xen-netback offers on most machines (min(8, CPUs)); each has
 * 1.4 MiB of journal.
 */
export const QUEUES_MAX = 16;

/** Each frame says in an extra how much it has, so a guest that asks for more is served with this. Linux asks for 256. */
export const XDP_HEADROOM_MAX = 2048;

/** A queue's rings, and how to tell of them. */
export interface QueueSettings {
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** Two different ports, or the same one twice. */
  readonly txPort: number;
  readonly rxPort: number;
}

/** What the frontend asked for when it connected (netif.h), checked. */
export interface FrontendSettings {
  /** At least one. */
  readonly queues: readonly QueueSettings[];
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
  /** Undefined for a guest without a control ring. */
  readonly control: ControlSettings | undefined;
}

/** Where a guest's control ring is, and how to tell of it. */
export interface ControlSettings {
  readonly ringRef: number;
  readonly port: number;
}

/** Names a connection by its rings and channels: another one's are others. */
export function ringsOf({ queues }: FrontendSettings): string {
  return queues.map((rings) => Object.values(rings).join(' ')).join(', ');
}
