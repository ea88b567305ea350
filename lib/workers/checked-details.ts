import type { VifdErrorCode } from '../errors.js';
import type { Drops, Flow, VifStats } from '../netback/frames/counters.js';
import type { RingIndices } from '../netback/ring/back-ring.js';
import { QUEUES_MAX } from '../netback/settings.js';
import type {
  ConnectionDetails,
  Fault,
  HashDetails,
  HashTypeName,
  MulticastDetails,
  Negotiated,
  QueueDetails,
  VifDetails,
} from '../netback/show.js';
import type { VifId, VifState } from '../netback/vif-info.js';
import { MESSAGE_BYTES_MAX } from './messages.js';
import { flag, listOf, maybe, number, object, oneOf, type Shape, text, whole } from './shape.js';

/** Bounded by the message that has them, so that no text that a worker may have ends the link. */
const anyText = text(MESSAGE_BYTES_MAX);
const LIST_MAX = 4096;

export const vifId = text<VifId>(32, /^vif(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,9})$/);
export const vifState = oneOf<VifState>('waiting', 'connected', 'stopped', 'closed', 'detached');
export const errorCode = text<VifdErrorCode>(40, /^ERR_[A-Z_]+$/);

const drops = object<Drops>({
  port: number,
  refused: number,
  offload: number,
  unsupported: number,
  buffers: number,
  queue: number,
  stale: number,
  detached: number,
  damaged: number,
});

const flow = object<Flow>({
  frames: number,
  bytes: number,
  filtered: number,
  dropped: number,
  drops,
  errors: number,
  hookErrors: number,
  batches: number,
});

const stats = object<VifStats>({ fromGuest: flow, toGuest: flow, stalls: number });

const indices = object<RingIndices>({
  reqProd: number,
  reqCons: number,
  rspProd: number,
  reqEvent: number,
  rspEvent: number,
  size: number,
});

const queue = object<QueueDetails>({
  txRingRef: number,
  rxRingRef: number,
  txPort: number,
  rxPort: number,
  fromGuest: indices,
  toGuest: indices,
  pendingFrames: number,
  stagedGrants: number,
  stalled: flag,
  stats,
});

const connection = object<ConnectionDetails>({
  attachedMs: number,
  resumes: number,
  payload: oneOf('copy', 'map'),
  journal: flag,
  negotiated: object<Negotiated>({
    scatterGather: flag,
    gsoV4: flag,
    gsoV6: flag,
    checksumV4: flag,
    checksumV6: flag,
    rxNotify: flag,
    splitChannels: flag,
    controlRing: flag,
  }),
  xdpHeadroom: number,
  rate: maybe(
    object<NonNullable<ConnectionDetails['rate']>>({ bytes: number, intervalMs: number, leftBytes: number }),
  ),
  multicast: object<MulticastDetails>({
    requested: flag,
    filtering: flag,
    addresses: listOf(anyText, LIST_MAX),
  }),
  hash: maybe(
    object<HashDetails>({
      algorithm: oneOf('none', 'toeplitz'),
      types: listOf(oneOf<HashTypeName>('IPv4', 'IPv4/TCP', 'IPv6', 'IPv6/TCP'), 4),
      key: anyText,
      mapping: listOf(number, LIST_MAX),
    }),
  ),
  queues: listOf(queue, QUEUES_MAX),
});

const fault = object<Fault>({ code: errorCode, message: anyText });

/** What a worker responds to 'show'. */
export const vifDetails: Shape<VifDetails> = object<VifDetails>({
  id: vifId,
  domid: whole(),
  handle: whole(),
  mac: anyText,
  bridge: maybe(anyText),
  mtu: maybe(number),
  state: vifState,
  reason: maybe(anyText),
  faults: listOf(fault, LIST_MAX),
  port: maybe(anyText),
  link: maybe(oneOf('up', 'down')),
  portDropped: number,
  stats,
  connection: maybe(connection),
});
