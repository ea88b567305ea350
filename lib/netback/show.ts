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
  /** The state of the vif. */
  readonly state: VifState;
  /** Why the vif is stopped, or else its present fault. */
  readonly reason: string | undefined;
  /** The present faults that the guest has not caused. */
  readonly faults: readonly Fault[];
  /** The name of the port; undefined while none is open. */
  readonly port: string | undefined;
  /** `up` while the host's side has a carrier, which needs a connected guest that takes frames. Undefined if the port has no link. */
  readonly link: 'up' | 'down' | undefined;
  /** Frames for the guest that the port dropped before vifd could read them. They count in `stats.toGuest.drops.port` and in no queue. */
  readonly portDropped: number;
  /** The counters of all queues and of the port together. */
  readonly stats: VifStats;
  /** Undefined while no guest is connected. */
  readonly connection: ConnectionDetails | undefined;
}

/** A fault as plain data: a VifdError without its stack. */
export interface Fault {
  /** The code; docs/errors.md has a row for each. */
  readonly code: VifdErrorCode;
  /** What happened, to which vif, why, and what to do. */
  readonly message: string;
}

export function faultOf({ code, message }: VifdError): Fault {
  return { code, message };
}

/** The connection of a vif's guest, as plain data. */
export interface ConnectionDetails {
  /** Milliseconds since this process attached. */
  readonly attachedMs: number;
  /** How often the connection was resumed by a new process of the backend. 0 without a journal. */
  readonly resumes: number;
  /** How the bytes of frames move between guest and process. */
  readonly payload: PayloadMode;
  /** Whether a journal of this connection exists, so that a kill at any instant is harmless. */
  readonly journal: boolean;
  /** What the guest and vifd have agreed on. */
  readonly negotiated: Negotiated;
  /** Bytes that the guest wants free in front of each frame; 0 to 2048. */
  readonly xdpHeadroom: number;
  /** How much the guest may send in each interval; undefined: no limit. */
  readonly rate:
    | { readonly bytes: number; readonly intervalMs: number; readonly leftBytes: number }
    | undefined;
  /** The guest's multicast list. */
  readonly multicast: MulticastDetails;
  /** Undefined for a guest without a control ring. */
  readonly hash: HashDetails | undefined;
  /** The queues, in order of their index; at least one. */
  readonly queues: readonly QueueDetails[];
}

/** The guest's capabilities and the features that it asked for; the names follow the keys in netif.h. */
export interface Negotiated {
  /** Whether the guest takes frames that lie in several pages. */
  readonly scatterGather: boolean;
  /** Whether the guest takes TCP segments of up to 64 KiB over IPv4. */
  readonly gsoV4: boolean;
  /** Whether the guest takes TCP segments of up to 64 KiB over IPv6. */
  readonly gsoV6: boolean;
  /** Whether the guest takes IPv4 frames whose checksum is not complete. */
  readonly checksumV4: boolean;
  /** Whether the guest takes IPv6 frames whose checksum is not complete. */
  readonly checksumV6: boolean;
  /** Whether the guest sends an event when it posts receive buffers. */
  readonly rxNotify: boolean;
  /** Whether each direction has an event channel of its own. */
  readonly splitChannels: boolean;
  /** Whether the guest has a control ring. */
  readonly controlRing: boolean;
}

/** The multicast list of a guest. */
export interface MulticastDetails {
  /** Whether the guest asked for filtering. */
  readonly requested: boolean;
  /** Whether vifd filters frames. It does not if another backend, without this journal, has received a part of the list. */
  readonly filtering: boolean;
  /** The MAC addresses that the guest asked for. */
  readonly addresses: readonly string[];
}

/** The hashing that the guest has set up by its control ring. */
export interface HashDetails {
  /** The guest's choice. */
  readonly algorithm: 'none' | 'toeplitz';
  /** What is hashed. */
  readonly types: readonly HashTypeName[];
  /** In hexadecimal digits. */
  readonly key: string;
  /** The queue of each entry; empty if the remainder of the hash chooses the queue. */
  readonly mapping: readonly number[];
}

/** A kind of packets that is hashed, as `vifd show` prints it. */
export type HashTypeName = 'IPv4' | 'IPv4/TCP' | 'IPv6' | 'IPv6/TCP';

/** One queue of a connection, as plain data. */
export interface QueueDetails {
  /** Grant references of the rings; tx and rx as the guest uses the words. */
  readonly txRingRef: number;
  /** The grant reference of the ring of frames to the guest. */
  readonly rxRingRef: number;
  /** The guest's event channels: two different ones, or the same one twice. */
  readonly txPort: number;
  /** The event channel of the ring of frames to the guest. */
  readonly rxPort: number;
  /** The ring of frames from the guest. */
  readonly fromGuest: RingIndices;
  /** The ring of frames to the guest. */
  readonly toGuest: RingIndices;
  /** Frames that vifd has read for the guest and that wait for its buffers. */
  readonly pendingFrames: number;
  /** Grants that the guest lets stay mapped. */
  readonly stagedGrants: number;
  /** Whether frames have waited for a minute while the guest took none. */
  readonly stalled: boolean;
  /** The counters of this queue. */
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
