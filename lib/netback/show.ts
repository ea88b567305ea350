import type { VifdError, VifdErrorCode } from '../errors.js';
import * as control from '../protocol/control.js';
import type { VifStats } from './frames/counters.js';
import type { HashState } from './guest/hash.js';
import type { RingIndices } from './ring/back-ring.js';
import type { FrontendSettings, PayloadMode } from './settings.js';
import type { VifInfo, VifState } from './vif-info.js';

/** The response of a running vifd to `vifd show`. */
export interface NetbackDetails {
  /** The present faults that belong to no served vif: xenstored is away, or a vif cannot be read. */
  readonly faults: readonly Fault[];
  readonly vifs: readonly VifDetails[];
}

/** All details of a vif as plain data: `Vif.show()`. */
export interface VifDetails extends VifInfo {
  readonly state: VifState;
  /** Why the vif is stopped, or else its present fault. */
  readonly reason: string | undefined;
  /** The present faults that the guest has not caused. */
  readonly faults: readonly Fault[];
  readonly port: string | undefined;
  /** `up` while the host's side has a carrier, which needs a connected guest that takes frames. Undefined if the port has no link. */
  readonly link: 'up' | 'down' | undefined;
  /** Frames for the guest that the port dropped before vifd could read them. They count in `stats.toGuest.drops.port` and in no queue. */
  readonly portDropped: number;
  readonly stats: VifStats;
  /** Undefined while no guest is connected. */
  readonly connection: ConnectionDetails | undefined;
}

export interface Fault {
  readonly code: VifdErrorCode;
  readonly message: string;
}

export function faultOf({ code, message }: VifdError): Fault {
  return { code, message };
}

export interface ConnectionDetails {
  /** Milliseconds since this process attached. */
  readonly attachedMs: number;
  /** How often the connection was resumed by a new process of the backend. 0 without a journal. */
  readonly resumes: number;
  readonly payload: PayloadMode;
  readonly journal: boolean;
  readonly negotiated: Negotiated;
  readonly xdpHeadroom: number;
  /** How much the guest may send in each interval; undefined: no limit. */
  readonly rate:
    | { readonly bytes: number; readonly intervalMs: number; readonly leftBytes: number }
    | undefined;
  readonly multicast: MulticastDetails;
  /** Undefined for a guest without a control ring. */
  readonly hash: HashDetails | undefined;
  readonly queues: readonly QueueDetails[];
}

/** The guest's capabilities and the features that it asked for; the names follow the keys in netif.h. */
export interface Negotiated {
  readonly scatterGather: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  /** Whether the guest sends an event when it posts receive buffers. */
  readonly rxNotify: boolean;
  /** Whether each direction has an event channel of its own. */
  readonly splitChannels: boolean;
  readonly controlRing: boolean;
}

export interface MulticastDetails {
  /** Whether the guest asked for filtering. */
  readonly requested: boolean;
  /** Whether vifd filters frames. It does not if another backend, without this journal, has received a part of the list. */
  readonly filtering: boolean;
  readonly addresses: readonly string[];
}

/** The hashing that the guest has set up by its control ring. */
export interface HashDetails {
  readonly algorithm: 'none' | 'toeplitz';
  readonly types: readonly HashTypeName[];
  /** In hexadecimal digits. */
  readonly key: string;
  /** The queue of each entry; empty if the remainder of the hash chooses the queue. */
  readonly mapping: readonly number[];
}

export type HashTypeName = 'IPv4' | 'IPv4/TCP' | 'IPv6' | 'IPv6/TCP';

export interface QueueDetails {
  /** Grant references of the rings; tx and rx as the guest uses the words. */
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** The guest's event channels: two different ones, or the same one twice. */
  readonly txPort: number;
  readonly rxPort: number;
  readonly fromGuest: RingIndices;
  readonly toGuest: RingIndices;
  /** Frames that vifd has read for the guest and that wait for its buffers. */
  readonly pendingFrames: number;
  /** Grants that the guest lets stay mapped. */
  readonly stagedGrants: number;
  /** Whether frames have waited for a minute while the guest took none. */
  readonly stalled: boolean;
  readonly stats: VifStats;
}

export function negotiatedOf(settings: FrontendSettings): Negotiated {
  const { scatterGather, gsoV4, gsoV6, checksumV4, checksumV6, rxNotify, queues, control } = settings;
  const [{ txPort, rxPort }] = queues;
  const splitChannels = txPort !== rxPort;
  const controlRing = control !== undefined;
  return { scatterGather, gsoV4, gsoV6, checksumV4, checksumV6, rxNotify, splitChannels, controlRing };
}

const TYPES: ReadonlyArray<readonly [number, HashTypeName]> = [
  [control.HASH_TYPE_IPV4, 'IPv4'],
  [control.HASH_TYPE_IPV4_TCP, 'IPv4/TCP'],
  [control.HASH_TYPE_IPV6, 'IPv6'],
  [control.HASH_TYPE_IPV6_TCP, 'IPv6/TCP'],
];

export function hashDetailsOf(hash: HashState): HashDetails {
  return {
    algorithm: hash.algorithm === control.HASH_ALGORITHM_NONE ? 'none' : 'toeplitz',
    types: TYPES.flatMap(([bit, name]) => ((hash.flags & bit) === 0 ? [] : [name])),
    key: Array.from(hash.key, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    mapping: Array.from(hash.mapping),
  };
}
