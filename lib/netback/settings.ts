/** How the bytes of frames move between guest and process: vifd copies them, or maps the guest's pages. */
export type PayloadMode = 'map' | 'copy';

/**
 * The most queues of a vif: more than Linux's xen-netback offers on most hosts (min(8, CPUs)). Each queue needs 1.4 MiB of
 * journal.
 */
export const QUEUES_MAX = 16;

/** The most headroom that a guest gets; an extra of each frame has the actual value, so a guest may ask for more. Linux asks for 256. */
export const XDP_HEADROOM_MAX = 2048;

/** A queue's rings and event channels. */
export interface QueueSettings {
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** Two different ports, or the same one twice. */
  readonly txPort: number;
  readonly rxPort: number;
}

/** The settings that the frontend asked for when it connected (netif.h), checked. */
export interface FrontendSettings {
  /** At least one. */
  readonly queues: readonly QueueSettings[];
  readonly scatterGather: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  /** Whether the guest sends an event when it posts receive buffers. */
  readonly rxNotify: boolean;
  /** Whether the guest wants only the multicast frames that it named. It may change this while connected (`MULTICAST_KEY`). */
  readonly multicastControl: boolean;
  /** Bytes that the guest wants free in front of frames. Read again when the guest's state is Reconfiguring. */
  readonly xdpHeadroom: number;
  /** Undefined for a guest without a control ring. */
  readonly control: ControlSettings | undefined;
}

/** A guest's control ring and its event channel. */
export interface ControlSettings {
  readonly ringRef: number;
  readonly port: number;
}

type Rings = Pick<FrontendSettings, 'queues' | 'control'>;

/** Whether two settings name the same rings and event channels, those of the control ring among them. */
export function isSameConnection(one: Rings, other: Rings): boolean {
  const isSameControl =
    one.control?.ringRef === other.control?.ringRef && one.control?.port === other.control?.port;
  return isSameControl && ringsOf(one) === ringsOf(other);
}

/** Returns a text that identifies a connection by its rings and event channels, which no two connections share. */
export function ringsOf({ queues }: Pick<FrontendSettings, 'queues'>): string {
  return queues.map((rings) => Object.values(rings).join(' ')).join(', ');
}
