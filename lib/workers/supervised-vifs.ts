import type { ProcessDetails, ServedDetails, VifWorker } from '../daemon/details-json.js';
import type { Queried } from '../daemon/query-service.js';
import type { Looked, Served } from '../daemon/served.js';
import { VifdError } from '../errors.js';
import { VifCounters } from '../netback/frames/counters.js';
import { faultOf } from '../netback/show.js';
import { VifNode } from '../netback/vif/vif-node.js';
import type { VifId } from '../netback/vif-info.js';
import type { Clock, Store } from '../xen/seam.js';
import type { Fleet } from './fleet.js';
import type { SupervisedVif, Supervisor } from './supervisor.js';

export interface SupervisedVifsParts {
  readonly supervisor: Supervisor;
  readonly store: Store;
  readonly clock: Clock;
  readonly fleet: Pick<Fleet, 'workers' | 'standby' | 'ownLoad'>;
  readonly memoryOf: (pid: number) => number | undefined;
  /** The present faults that belong to no served vif. */
  readonly faults: () => readonly VifdError[];
}

/** The vifs of all workers, as the log, the service manager and `vifd show` see those of a netback. */
export class SupervisedVifs implements Queried, Served {
  readonly #parts: SupervisedVifsParts;

  constructor(parts: SupervisedVifsParts) {
    this.#parts = parts;
  }

  get faults(): readonly VifdError[] {
    return this.#parts.faults();
  }

  get vifs(): ReadonlyMap<VifId, Looked & { show(): Promise<ServedDetails> }> {
    const { supervisor } = this.#parts;
    const shown = [...supervisor.vifs.values()].map((vif) => ({ ...vif, show: () => this.#show(vif) }));
    return new Map(shown.map((vif) => [vif.id, vif]));
  }

  get processes(): readonly ProcessDetails[] {
    const { fleet, memoryOf } = this.#parts;
    const { pid } = process;
    const own = {
      role: 'supervisor',
      pid,
      vifs: [],
      memoryBytes: memoryOf(pid),
      load: fleet.ownLoad,
    } as const;
    const others = [...fleet.workers].map((worker): ProcessDetails => {
      const { load, memoryBytes, remote } = worker;
      const role = worker === fleet.standby ? 'standby' : 'worker';
      return { role, pid: worker.pid, vifs: [...remote.vifs.keys()], memoryBytes, load };
    });
    return [own, ...others];
  }

  get workers(): readonly VifWorker[] {
    const { supervisor } = this.#parts;
    return [...supervisor.vifs.values()].map((vif) => {
      const pid = supervisor.workerOf(vif.id)?.pid;
      return { id: vif.id, ...(pid && { worker: { pid } }), reason: vif.reason, ...this.#parkedOf(vif) };
    });
  }

  /** As `Netback.forget`. */
  async forget(id: VifId): Promise<void> {
    const worker = this.#parts.supervisor.workerOf(id);
    if (worker === undefined) {
      const message = `${id} is not served by this vifd: \`vifd list\` shows which vifs there are.`;
      throw new VifdError('ERR_NO_VIF', message, { vif: id });
    }
    await worker.remote.forget(id);
  }

  async #show(vif: SupervisedVif): Promise<ServedDetails> {
    const worker = this.#parts.supervisor.workerOf(vif.id);
    if (worker === undefined) return this.#showUnserved(vif);
    try {
      return { ...(await worker.remote.show(vif.id)), worker: { pid: worker.pid } };
    } catch (error) {
      // The worker has died or detached, or the vif has ended, since the question came.
      if (worker.ending || worker.ended || !worker.remote.vifs.has(vif.id)) return this.#showUnserved(vif);
      throw error;
    }
  }

  async #showUnserved(vif: SupervisedVif): Promise<ServedDetails> {
    const { id, state, reason } = vif;
    const { supervisor, store } = this.#parts;
    const place = supervisor.placeOf(id);
    const node = place && (await VifNode.find(store, place.path, place).catch(() => undefined));
    const [, domid, handle] = /^vif(\d+)\.(\d+)$/.exec(id) ?? [];
    const { mac = '', bridge, mtu } = node?.info ?? {};
    const faults = reason === undefined ? [] : [faultOf(new VifdError('ERR_WORKER', reason))];
    return {
      ...{ id, domid: Number(domid), handle: Number(handle), mac, bridge, mtu, state, reason, faults },
      ...{ port: undefined, link: undefined, portDropped: 0, stats: new VifCounters(() => 0).sum },
      connection: undefined,
      ...this.#parkedOf(vif),
    };
  }

  #parkedOf({ parkedUntilMs }: SupervisedVif): Pick<ServedDetails, 'parked'> {
    if (parkedUntilMs === undefined) return {};
    return { parked: { retryMs: Math.max(0, Math.round(parkedUntilMs - this.#parts.clock.now())) } };
  }
}
