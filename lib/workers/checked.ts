import type { VifDetails } from '../netback/show.js';
import type { Admission, Named, VifPlace } from '../netback/vif/directory.js';
import type { AttachedHow, DetachReason } from '../netback/vif/vif-parts.js';
import type { StoredPort } from '../xen/seam.js';
import { errorCode, vifDetails, vifId, vifState } from './checked-details.js';
import {
  CHANNELS_MAX,
  DESCRIPTORS_MAX,
  type FromWorker,
  type LinkError,
  MESSAGE_BYTES_MAX,
  type Notice,
  REASON_MAX,
  type Report,
  type Request,
  type Response,
  type ToWorker,
  WORKER_VIFS_MAX,
} from './messages.js';
import {
  amount,
  fieldsOf,
  flag,
  listOf,
  maybe,
  number,
  object,
  oneOf,
  type Shape,
  text,
  unfit,
  whole,
} from './shape.js';

/** The supervisor stores one of each vif. */
const reason = text(REASON_MAX);
/** `vif7.0` for the first queue of the vif's tap, `vif7.0.q1` for the second (daemon/taps.ts). A vif has at most DESCRIPTORS_MAX of them. */
const descriptorName = text(40, /^vif(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,9})(\.q([1-9]|1[0-5]))?$/);
const requestNumber = whole();
const domid = whole();

const ports = listOf(object<StoredPort>({ domid, remotePort: whole(), port: whole() }), CHANNELS_MAX);

const place = object<VifPlace>({ id: vifId, domid, handle: whole(), path: text(256) });

const named: Shape<Named> = (value, name) => {
  if (value === undefined) return undefined;
  const isVif = 'id' in fieldsOf(value, name);
  return isVif ? place(value, name) : object<{ readonly domid: number }>({ domid })(value, name);
};

type OfKind<T, Key extends string, Kind extends string> = Extract<T, { readonly [K in Key]: Kind }>;
/** The shapes of all messages that one field distinguishes. TypeScript refuses a list that lacks one. */
type Shapes<T, Key extends string> = {
  readonly [Kind in T extends { readonly [K in Key]: infer K extends string } ? K : never]: Shape<
    OfKind<T, Key, Kind>
  >;
};

const REQUESTS: Shapes<Request, 'ask'> = {
  found: object({
    ask: oneOf('found'),
    number: requestNumber,
    place,
    connectedOnly: flag,
    descriptors: listOf(descriptorName, DESCRIPTORS_MAX - 1),
    ports,
    from: maybe(whole()),
  }),
  show: object({ ask: oneOf('show'), number: requestNumber, vif: vifId }),
  forget: object({ ask: oneOf('forget'), number: requestNumber, vif: vifId }),
  end: object({ ask: oneOf('end'), number: requestNumber }),
};

const NOTICES: Shapes<Notice, 'tell'> = {
  changed: object({ tell: oneOf('changed'), path: text(MESSAGE_BYTES_MAX), named }),
  'domain-gone': object({ tell: oneOf('domain-gone'), domid }),
  'store-returned': object({ tell: oneOf('store-returned') }),
};

const how = object<AttachedHow>({ resumed: flag, attachMs: number });
const why = oneOf<DetachReason>(
  ...(['failed', 'guest-closed', 'guest-gone', 'journal-renewed'] as const),
  ...(['port-lost', 'protocol-error', 'released', 'shutdown'] as const),
);

const REPORTS: Shapes<Report, 'report'> = {
  hello: object({
    report: oneOf('hello'),
    protocol: whole(),
    version: text(64),
    pid: whole(),
    vifs: listOf(vifId, WORKER_VIFS_MAX),
  }),
  vif: object({ report: oneOf('vif'), vif: vifId, state: vifState, reason: maybe(reason) }),
  attached: object({ report: oneOf('attached'), vif: vifId, how }),
  detached: object({ report: oneOf('detached'), vif: vifId, why }),
  gone: object({ report: oneOf('gone'), vif: vifId }),
  'look-again': object({ report: oneOf('look-again') }),
  keep: object({ report: oneOf('keep'), name: descriptorName }),
  'forget-descriptor': object({ report: oneOf('forget-descriptor'), name: descriptorName }),
  'keep-channels': object({ report: oneOf('keep-channels'), vif: vifId, ports }),
  'forget-channels': object({ report: oneOf('forget-channels'), vif: vifId }),
  alive: object({ report: oneOf('alive'), load: amount(1) }),
};

const linkError = object<LinkError>({
  code: errorCode,
  message: reason,
  errno: maybe(text(32)),
  vif: maybe(text(32)),
});

const admission = oneOf<Admission>('served', 'refused', 'waiting', 'none');

const result: Shape<Admission | VifDetails | null> = (value, name) => {
  if (value === null) return null;
  return typeof value === 'string' ? admission(value, name) : vifDetails(value, name);
};

/**
 * Returns a message of a worker with the fields of its kind alone. A guest may have taken control of the worker, so that the message may be
 * anything. Whether it fits to earlier ones is the caller's to check.
 * @throws VifdError ERR_WORKER.
 */
export function fromWorker(value: unknown): FromWorker {
  const fields = fieldsOf(value, 'message');
  if ('report' in fields) return ofKind<Report>(REPORTS, 'report', fields);
  return responseIn(fields);
}

/** As `fromWorker`, for a message of the supervisor. */
export function toWorker(value: unknown): ToWorker {
  const fields = fieldsOf(value, 'message');
  return 'ask' in fields ? ofKind<Request>(REQUESTS, 'ask', fields) : ofKind<Notice>(NOTICES, 'tell', fields);
}

function responseIn(fields: Readonly<Record<string, unknown>>): Response {
  const of = { number: requestNumber(fields.number, 'number') };
  if (fields.error !== undefined) return { ...of, error: linkError(fields.error, 'error') };
  return { ...of, result: result(fields.result, 'result') };
}

function ofKind<T>(
  shapes: Readonly<Record<string, Shape<T>>>,
  key: string,
  fields: Readonly<Record<string, unknown>>,
): T {
  const kind = fields[key];
  if (typeof kind === 'string' && Object.hasOwn(shapes, kind)) return shapes[kind](fields, kind);
  throw unfit(key, Object.keys(shapes).join(' or '));
}
