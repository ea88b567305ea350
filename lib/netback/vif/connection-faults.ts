import { VifdError } from '../../errors.js';
import type { Xen } from '../../xen/seam.js';
import type { VifFaults } from './vif-faults.js';

/** Faults that end with the connection that has them. */
const OF_CONNECTION = ['host', 'stall'];

/** Makes faults of the vif out of what its connection reports. */
export class ConnectionFaults {
  readonly #faults: VifFaults;
  readonly #xen: Xen;

  constructor(faults: VifFaults, xen: Xen) {
    this.#faults = faults;
    this.#xen = xen;
  }

  /** @param fault undefined: the host's calls for the attached connection all work again. */
  hostOfAttached(fault: VifdError | undefined): void {
    if (fault === undefined) this.#faults.end('host');
    else this.#faults.begin('host', this.#faults.prefixed(fault));
  }

  /** What a connection holds cannot be given back yet. The fault outlives the connection, and perhaps the vif. */
  hostOfEnding(fault: VifdError): void {
    this.#faults.begin('ending', this.#faults.prefixed(fault));
    if (this.#xen.whenEnded === undefined) this.#faults.forget((kind) => kind === 'ending');
    else this.#xen.whenEnded(() => this.#faults.end('ending'));
  }

  failed({ code, message }: VifdError): void {
    const text = `the connection cannot go on (${message}): vifd attaches to the guest again`;
    this.#faults.begin('failed', this.#faults.prefixed(new VifdError(code, text)));
  }

  /** @param queues how many the guest has. */
  stalled(queue: number, queues: number, linkDown: boolean): void {
    const where = queues > 1 ? ` by queue ${queue}` : '';
    const then = linkDown ? 'its link is down' : 'they are dropped';
    const message = `its guest takes no frames${where} for 60 s: ${then} until it does`;
    this.#faults.begin(`stall ${queue}`, this.#faults.about('ERR_STALLED', message));
  }

  recovered(queue: number): void {
    this.#faults.forget((kind) => kind === `stall ${queue}`);
  }

  /** A connection could not be attached to for a fault of its guest's: what the host's calls reported meanwhile is over. */
  refused(): void {
    this.#faults.forget((kind) => kind === 'host');
  }

  /** The connection is detached. */
  detached(): void {
    this.#faults.forget((kind) => OF_CONNECTION.some((what) => kind.startsWith(what)));
  }

  /** The guest's connection is over. */
  over(): void {
    this.#faults.forget((kind) => kind === 'journal' || kind === 'failed');
  }
}
