import { closeSync } from 'node:fs';
import { VifdError } from '../errors.js';
import type { VifDetails } from '../netback/show.js';
import type { Admission, Named, VifPlace } from '../netback/vif/directory.js';
import type { AttachedHow, DetachReason } from '../netback/vif/vif-parts.js';
import type { VifId, VifState } from '../netback/vif-info.js';
import { quoted } from '../text.js';
import type { StoredEvents } from '../xen/seam.js';
import { fromWorker } from './checked.js';
import { Link } from './link.js';
import { errorOf, type Report, type Request, type Response } from './messages.js';

export type Hello = Extract<Report, { readonly report: 'hello' }>;

/** What a worker reported last about a vif that it serves. */
export interface RemoteVif {
  readonly state: VifState;
  readonly reason: string | undefined;
}

/** Called with what a worker reports. It is checked for its form, and for that the worker has the vif; the rest is the worker's word. */
export interface RemoteVifsParts {
  /** The first report. `vifs` of `RemoteVifs` has those that the worker serves already. */
  readonly onHello: (hello: Hello) => void;
  readonly onAttached: (vif: VifId, how: AttachedHow) => void;
  readonly onDetached: (vif: VifId, why: DetachReason) => void;
  /** Called when the state or reason of a vif has changed: `vifs` has it. */
  readonly onChanged: (vif: VifId) => void;
  /** Called when a vif has ended in the worker; there may be a new vif at its place (`Discovery.lookAt`). */
  readonly onGone: (vif: VifId) => void;
  /** Called when the worker may accept vifs that it refused (`Discovery.look`). */
  readonly onLookAgain: () => void;
  /** Called with a descriptor of a tap to store, which is the callee's from then on. */
  readonly onKeep: (name: string, descriptor: number) => void;
  readonly onForget: (name: string) => void;
  /** As `onKeep`, for the event channels of a vif's connection. */
  readonly onKeepChannels: (vif: VifId, stored: StoredEvents) => void;
  readonly onForgetChannels: (vif: VifId) => void;
  readonly onAlive: (load: number) => void;
  /** Called once, after all requests were rejected. @param error undefined if the worker ended, or closed its end. */
  readonly onEnd: (error: VifdError | undefined) => void;
}

/** What a vif's next worker needs to serve it before the process that served it is gone. */
export interface Predecessor {
  /** That process, if it serves no more and may not be gone. */
  readonly from?: number | undefined;
  /** The event channels of its connection; they stay the caller's. */
  readonly channels?: StoredEvents | undefined;
}

type Result = Admission | VifDetails | null;
type WithoutNumber<T> = T extends unknown ? Omit<T, 'number'> : never;
type Unnumbered = WithoutNumber<Request>;
type ReportOfVif = Extract<Report, { readonly vif: VifId }>;
/** A report about descriptors that the supervisor stores for a vif. */
type StoreReport = Extract<Report, { readonly report: `${'keep' | 'forget'}-${string}` | 'keep' }>;

interface Held {
  readonly report: StoreReport;
  readonly descriptors: readonly number[];
}

interface Pending {
  readonly request: Unnumbered;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: VifdError) => void;
}

/** The supervisor's end of a link: the vifs of one worker. A worker that sends what does not fit is no longer listened to. */
export class RemoteVifs implements Disposable {
  /** The vifs that the worker serves. */
  readonly vifs = new Map<VifId, RemoteVif>();
  readonly #parts: RemoteVifsParts;
  readonly #link: Link;
  readonly #pending = new Map<number, Pending>();
  /** The places of vifs whose 'found' is under way, by vif. */
  readonly #finding = new Map<VifId, VifPlace>();
  /** The vifs of its hello, until `confirm`. */
  readonly #claimed = new Set<VifId>();
  /** The last reports about the descriptors of these vifs, by what they replace; undefined once they are not waited for any more. */
  #held: Map<string, Held> | undefined = new Map();
  #hello: Hello | undefined;
  #number = 0;

  /**
   * @param descriptor the supervisor's end, which is this object's from then on.
   * @throws VifdError ERR_WORKER, with the errno, if the descriptor is of no use.
   */
  constructor(descriptor: number, parts: RemoteVifsParts) {
    this.#parts = parts;
    this.#link = new Link(descriptor, {
      onMessage: (message, descriptors) => this.#take(message, descriptors),
      onEnd: (error) => this.#end(error),
    });
  }

  /** Undefined until the worker has sent it. */
  get hello(): Hello | undefined {
    return this.#hello;
  }

  /** Whether the link has ended: then each request is rejected with ERR_STATE. */
  get ended(): boolean {
    return this.#link.ended;
  }

  /** Whether the worker serves the vif, or looks at it now. */
  has(vif: VifId): boolean {
    return this.vifs.has(vif) || this.#finding.has(vif);
  }

  /**
   * Gives the vif at a place to the worker, as `VifServer.found`. The worker hears from `changed` whether the node changed meanwhile.
   * @param descriptors of its tap, by name, of which the worker gets duplicates.
   * @param after what is known of the process that served the vif before.
   * @throws VifdError the worker's: ERR_RUNNING while another process has the vif's lock; ERR_STATE if the link ends, or while the worker
   *   looks at the vif already.
   */
  async found(
    place: VifPlace,
    connectedOnly: boolean,
    descriptors: ReadonlyMap<string, number> = new Map(),
    after: Predecessor = {},
  ): Promise<Admission> {
    if (this.vifs.has(place.id)) return 'served';
    // The response to the first request would otherwise come for a vif that this class knows nothing of.
    if (this.#finding.has(place.id)) {
      const message = `${place.id} is being looked at by its worker: ask again.`;
      throw new VifdError('ERR_STATE', message, { vif: place.id });
    }
    const names = [...descriptors.keys()];
    this.#finding.set(place.id, place);
    this.#claimed.delete(place.id);
    try {
      const { from, channels } = after;
      const ports = channels?.ports ?? [];
      const request = { ask: 'found', place, connectedOnly, descriptors: names, ports, from } as const;
      const more = channels === undefined || ports.length === 0 ? [] : [channels.descriptor];
      return (await this.#ask(request, [...descriptors.values(), ...more])) as Admission;
    } finally {
      this.#finding.delete(place.id);
    }
  }

  /** @throws VifdError ERR_NO_VIF; ERR_STATE if the link ends. */
  async show(vif: VifId): Promise<VifDetails> {
    return (await this.#ask({ ask: 'show', vif })) as VifDetails;
  }

  /** See `Netback.forget`. @throws VifdError ERR_NO_VIF or ERR_STATE. */
  async forget(vif: VifId): Promise<void> {
    await this.#ask({ ask: 'forget', vif });
  }

  /** Makes the worker detach from every guest and end. Resolves when it has detached. @throws VifdError ERR_STATE if the link ends before. */
  async end(): Promise<void> {
    await this.#ask({ ask: 'end' });
  }

  /** As `VifServer.changed`; the worker hears of what may concern its vifs. */
  changed(path: string, named: Named): void {
    if (this.#concerns(named)) this.#link.send({ tell: 'changed', path, named });
  }

  domainGone(domid: number): void {
    if (this.#concerns({ domid })) this.#link.send({ tell: 'domain-gone', domid });
  }

  storeReturned(): void {
    this.#link.send({ tell: 'store-returned' });
  }

  /**
   * Call it with those vifs of the hello that the worker serves indeed. Only then it has descriptors of them stored: by those of another
   * guest's tap it could get that guest's frames.
   */
  confirm(vifs: readonly VifId[]): void {
    const confirmed = new Set(vifs);
    for (const vif of confirmed) this.#claimed.delete(vif);
    const held = [...(this.#held?.values() ?? [])];
    this.#held = undefined;
    for (const { report, descriptors } of held) {
      if (confirmed.has(vifOf(report))) this.#hearOfStored(report, descriptors);
      else closeAll(descriptors);
    }
  }

  /** Hears what a worker that has died has sent before. */
  receiveRest(): void {
    this.#link.receiveRest();
  }

  /** Closes the link. The worker continues to serve. Requests that are under way are rejected; `onEnd` is not called. */
  [Symbol.dispose](): void {
    this.#link[Symbol.dispose]();
    this.#over();
  }

  #concerns(named: Named): boolean {
    if (named === undefined) return true;
    if ('id' in named) return this.has(named.id);
    const start = `vif${named.domid}.`;
    return [...this.vifs.keys(), ...this.#finding.keys()].some((id) => id.startsWith(start));
  }

  #ask(request: Unnumbered, descriptors: readonly number[] = []): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#link.ended) {
        reject(linkEnded());
        return;
      }
      const number = this.#number++;
      this.#pending.set(number, { request, resolve, reject });
      try {
        this.#link.send({ ...request, number }, descriptors);
      } catch (error) {
        this.#pending.delete(number);
        throw error;
      }
    });
  }

  /** @throws VifdError ERR_WORKER for what does not fit; then the link ends. */
  #take(value: unknown, descriptors: readonly number[]): void {
    const message = fromWorker(value);
    const isKeep = 'report' in message && (message.report === 'keep' || message.report === 'keep-channels');
    if (descriptors.length !== (isKeep ? 1 : 0)) throw unfitting(`${descriptors.length} descriptors`, value);
    if (!('report' in message)) this.#settle(message);
    else if ((message.report === 'hello') === (this.#hello === undefined)) this.#hear(message, descriptors);
    else throw unfitting(this.#hello === undefined ? 'something before its hello' : 'a second hello', value);
  }

  #settle(response: Response): void {
    const pending = this.#pending.get(response.number);
    if (pending === undefined) throw unfitting('a response without a request', response);
    this.#pending.delete(response.number);
    if ('error' in response) pending.reject(errorOf(response.error));
    else if (this.#fits(pending.request, response.result)) pending.resolve(response.result);
    else {
      const error = unfitting(`a wrong response to '${pending.request.ask}'`, response);
      pending.reject(error);
      throw error;
    }
  }

  #fits(request: Unnumbered, result: Result): boolean {
    switch (request.ask) {
      case 'found':
        return typeof result === 'string' && (result === 'served' || !this.vifs.has(request.place.id));
      case 'show':
        return typeof result === 'object' && result?.id === request.vif;
      default:
        return result === null;
    }
  }

  #hear(report: Report, descriptors: readonly number[]): void {
    switch (report.report) {
      case 'hello':
        this.#hello = report;
        for (const vif of report.vifs) {
          this.vifs.set(vif, { state: 'waiting', reason: undefined });
          this.#claimed.add(vif);
        }
        this.#parts.onHello(report);
        return;
      case 'alive':
        this.#parts.onAlive(report.load);
        return;
      case 'look-again':
        this.#parts.onLookAgain();
        return;
      case 'keep':
      case 'forget-descriptor':
      case 'keep-channels':
      case 'forget-channels':
        this.#requireOwn(vifOf(report), report);
        this.#hearOfStored(report, descriptors);
        return;
      default:
        this.#requireOwn(report.vif, report);
        this.#hearOf(report.vif, report);
    }
  }

  #hearOfStored(report: StoreReport, descriptors: readonly number[]): void {
    if (this.#claimed.has(vifOf(report))) {
      this.#hold(report, descriptors);
      return;
    }
    switch (report.report) {
      case 'keep':
        this.#parts.onKeep(report.name, descriptors[0]);
        return;
      case 'forget-descriptor':
        this.#parts.onForget(report.name);
        return;
      case 'keep-channels':
        this.#parts.onKeepChannels(report.vif, { descriptor: descriptors[0], ports: report.ports });
        return;
      case 'forget-channels':
        this.#parts.onForgetChannels(report.vif);
    }
  }

  /** Until it is known whether the worker serves the vif, its last report counts; after that, none does. */
  #hold(report: StoreReport, descriptors: readonly number[]): void {
    const name = 'name' in report ? report.name : `channels ${report.vif}`;
    closeAll(this.#held === undefined ? descriptors : (this.#held.get(name)?.descriptors ?? []));
    this.#held?.set(name, { report, descriptors });
  }

  #hearOf(vif: VifId, report: Exclude<ReportOfVif, StoreReport>): void {
    switch (report.report) {
      case 'vif':
        this.vifs.set(vif, { state: report.state, reason: report.reason });
        this.#parts.onChanged(vif);
        return;
      case 'attached':
        this.#parts.onAttached(vif, report.how);
        return;
      case 'detached':
        this.#parts.onDetached(vif, report.why);
        return;
      case 'gone':
        this.vifs.delete(vif);
        this.#claimed.delete(vif);
        this.#parts.onGone(vif);
    }
  }

  /** A worker reports nothing about the vifs of other workers, nor replaces the descriptors of their taps. */
  #requireOwn(vif: VifId, report: Report): void {
    if (!this.has(vif)) throw unfitting(`a report about ${vif}, which it does not serve`, report);
  }

  #end(error: VifdError | undefined): void {
    this.#over();
    this.#parts.onEnd(error);
  }

  #over(): void {
    for (const { descriptors } of this.#held?.values() ?? []) closeAll(descriptors);
    this.#held = undefined;
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(linkEnded());
  }
}

/** Returns the vif of a tap's descriptor: `vif7.0` for `vif7.0.q1`. */
export function vifOfDescriptor(name: string): VifId {
  const [domain, handle] = name.split('.');
  return `${domain}.${handle}` as VifId;
}

function vifOf(report: StoreReport): VifId {
  return 'name' in report ? vifOfDescriptor(report.name) : report.vif;
}

function closeAll(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeSync(descriptor);
}

function linkEnded(): VifdError {
  return new VifdError('ERR_STATE', 'The worker has ended, or its link to this process.');
}

/** @param message as the worker sent it. */
function unfitting(what: string, message: unknown): VifdError {
  const text = quoted(JSON.stringify(message), 200);
  return new VifdError('ERR_WORKER', `A worker sent ${what}, and is no longer listened to: ${text}.`);
}
