import type { VifdError, VifdErrorCode } from '../errors.js';
import * as control from '../protocol/control.js';
import type { VifStats } from './frames/counters.js';
import type { HashState } from './guest/hash.js';
import type { RingIndices } from './ring/back-ring.js';
import type { FrontendSettings, PayloadMode } from './settings.js';
import type { VifInfo, VifState } from './vif-info.js';

/** What `vifd show` asks a running vifd for. */
export interface NetbackDetails {
  /** What is wrong now with no single vif: xenstored is away, a vif cannot be read. */
  readonly faults: readonly Fault[];
  readonly vifs: readonly VifDetails[];
}

/** All that is known of a vif, as plain data: `Vif.show()`. */
export interface VifDetails extends VifInfo {
  readonly state: VifState;
  /** Why it is stopped, or else what is wrong with it. */
  readonly reason: string | undefined;
  /** What is wrong now, for no fault of the guest. */
  readonly faults: readonly Fault[];
  readonly port: string | undefined;
  /** `up` if the host's side has a carrier, as it has while a guest is connected that takes frames. Undefined where the port has no link. */
  readonly link: 'up' | 'down' | undefined;
  /** Frames for the guest that the port dropped before they could be read: as `stats.toGuest.drops.port`, and in no queue's counters. */
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
  /** Since this life of the backend attached. */
  readonly attachedMs: number;
  /** How often the connection went on after an earlier life of the backend. Known only with a journal. */
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

/** What the guest can take and asked for; the names are those of the keys in netif.h. */
export interface Negotiated {
  readonly scatterGather: boolean;
  readonly gsoV4: boolean;
  readonly gsoV6: boolean;
  readonly checksumV4: boolean;
  readonly checksumV6: boolean;
  /** The guest tells when it posts receive buffers. */
  readonly rxNotify: boolean;
  /** Event channels of its own for each direction. */
  readonly splitChannels: boolean;
  readonly controlRing: boolean;
}

export interface MulticastDetails {
  /** The guest asked for filtering. */
  readonly requested: boolean;
  /** Frames are filtered; not by a list of which another backend was told a part. */
  readonly filtering: boolean;
  readonly addresses: readonly string[];
}

/** How the guest set up hashing, by its control ring. */
export interface HashDetails {
  readonly algorithm: 'none' | 'toeplitz';
  readonly types: readonly HashTypeName[];
  /** In hexadecimal digits. */
  readonly key: string;
  /** The queue of each entry; empty where the guest leaves it to the remainder. */
  readonly mapping: readonly number[];
}

export type HashTypeName = 'IPv4' | 'IPv4/TCP' | 'IPv6' | 'IPv6/TCP';

export interface QueueDetails {
  /** Grant references of the rings; tx and rx are the guest's. */
  readonly txRingRef: number;
  readonly rxRingRef: number;
  /** The guest's event channels: two different ones, or the same one twice. */
  readonly txPort: number;
  readonly rxPort: number;
  readonly fromGuest: RingIndices;
  readonly toGuest: RingIndices;
  /** Frames that were read for the guest, and have no buffers yet. */
  readonly heldFrames: number;
  /** Grants that the guest keeps mapped. */
  readonly stagedGrants: number;
  /** Frames have waited for a minute, and the guest took none. */
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
