import type { Drops, Flow, VifStats } from '../netback/frames/counters.js';
import type { RingIndices } from '../netback/ring/back-ring.js';
import type {
  ConnectionDetails,
  Fault,
  HashDetails,
  NetbackDetails,
  QueueDetails,
  VifDetails,
} from '../netback/show.js';

/** A vif's details, with the process that serves it where that is a worker. */
export interface ServedDetails extends VifDetails {
  readonly worker?: { readonly pid: number };
  /** A vif that is not served for a while, for the reason in `reason`: in how many ms vifd tries again. */
  readonly parked?: { readonly retryMs: number };
}

/** A process of a `vifd run --workers`. */
export interface ProcessDetails {
  readonly role: 'supervisor' | 'worker' | 'standby';
  readonly pid: number;
  readonly vifs: readonly string[];
  /** Its anonymous memory. Undefined: it has just ended. */
  readonly memoryBytes: number | undefined;
  /** How much of a core it used lately (0 to 1). */
  readonly load: number;
}

/** What `vifd list` has from a running vifd about a vif, beside what the store has. */
export interface VifWorker extends Pick<ServedDetails, 'id' | 'worker' | 'reason' | 'parked'> {}

/** The response of a running vifd to `vifd show`. */
export interface DaemonDetails extends NetbackDetails {
  /** With workers, if all vifs are shown. */
  readonly processes?: readonly ProcessDetails[];
  readonly vifs: readonly ServedDetails[];
}

/**
 * Returns the object that `vifd show --json` prints, field by field. docs/schemas/show.json describes it; other fields of the netback's objects
 * are left out, as are (by JSON) undefined fields.
 */
export function detailsJson({ faults, processes, vifs }: DaemonDetails): DaemonDetails {
  return {
    faults: faults.map(faultJson),
    ...(processes && { processes: processes.map(processJson) }),
    vifs: vifs.map(vifJson),
  };
}

function processJson({ role, pid, vifs, memoryBytes, load }: ProcessDetails): ProcessDetails {
  return { role, pid, vifs, memoryBytes, load };
}

/** Returns the counters of a vif or queue, as `vifd show` and the event `detached` have them. */
export function statsJson({ fromGuest, toGuest, stalls }: VifStats): VifStats {
  return { fromGuest: flowJson(fromGuest), toGuest: flowJson(toGuest), stalls };
}

export function faultJson({ code, message }: Fault): Fault {
  return { code, message };
}

function vifJson(vif: ServedDetails): ServedDetails {
  return {
    id: vif.id,
    domid: vif.domid,
    handle: vif.handle,
    mac: vif.mac,
    bridge: vif.bridge,
    mtu: vif.mtu,
    ...(vif.worker && { worker: { pid: vif.worker.pid } }),
    state: vif.state,
    reason: vif.reason,
    ...(vif.parked && { parked: { retryMs: vif.parked.retryMs } }),
    faults: vif.faults.map(faultJson),
    port: vif.port,
    link: vif.link,
    portDropped: vif.portDropped,
    stats: statsJson(vif.stats),
    connection: vif.connection && connectionJson(vif.connection),
  };
}

function connectionJson(connection: ConnectionDetails): ConnectionDetails {
  const { negotiated, rate, multicast } = connection;
  return {
    attachedMs: connection.attachedMs,
    resumes: connection.resumes,
    payload: connection.payload,
    journal: connection.journal,
    negotiated: {
      scatterGather: negotiated.scatterGather,
      gsoV4: negotiated.gsoV4,
      gsoV6: negotiated.gsoV6,
      checksumV4: negotiated.checksumV4,
      checksumV6: negotiated.checksumV6,
      rxNotify: negotiated.rxNotify,
      splitChannels: negotiated.splitChannels,
      controlRing: negotiated.controlRing,
    },
    xdpHeadroom: connection.xdpHeadroom,
    rate: rate && { bytes: rate.bytes, intervalMs: rate.intervalMs, leftBytes: rate.leftBytes },
    multicast: {
      requested: multicast.requested,
      filtering: multicast.filtering,
      addresses: multicast.addresses,
    },
    hash: connection.hash && hashJson(connection.hash),
    queues: connection.queues.map(queueJson),
  };
}

function hashJson({ algorithm, types, key, mapping }: HashDetails): HashDetails {
  return { algorithm, types, key, mapping };
}

function queueJson(queue: QueueDetails): QueueDetails {
  return {
    txRingRef: queue.txRingRef,
    rxRingRef: queue.rxRingRef,
    txPort: queue.txPort,
    rxPort: queue.rxPort,
    fromGuest: indicesJson(queue.fromGuest),
    toGuest: indicesJson(queue.toGuest),
    pendingFrames: queue.pendingFrames,
    stagedGrants: queue.stagedGrants,
    stalled: queue.stalled,
    stats: statsJson(queue.stats),
  };
}

function indicesJson({ reqProd, reqCons, rspProd, reqEvent, rspEvent, size }: RingIndices): RingIndices {
  return { reqProd, reqCons, rspProd, reqEvent, rspEvent, size };
}

function flowJson({ frames, bytes, filtered, dropped, drops, errors, hookErrors, batches }: Flow): Flow {
  return { frames, bytes, filtered, dropped, drops: dropsJson(drops), errors, hookErrors, batches };
}

function dropsJson(drops: Drops): Drops {
  const { port, refused, offload, unsupported, buffers, queue, stale, detached, damaged } = drops;
  return { port, refused, offload, unsupported, buffers, queue, stale, detached, damaged };
}
