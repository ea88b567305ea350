import { VifdError } from '../../errors.js';
import type { Xen } from '../../xen/seam.js';
import type { VifFaults } from './vif-faults.js';

/** Kinds of faults that end with the connection that has them. */
const OF_CONNECTION = ['host ', 'stall '];

/** Turns the reports of a vif's connection into faults of the vif. */
export class ConnectionFaults {
  readonly #faults: VifFaults;
  readonly #xen: Xen;

  constructor(faults: VifFaults, xen: Xen) {
    this.#faults = faults;
    this.#xen = xen;
  }

  /** Reports that the host fails calls for the attached connection: a fault of its own for each message. */
  hostOfAttached(fault: VifdError): void {
    this.#faults.begin(`host ${fault.message}`, this.#faults.prefixed(fault));
  }

  /** Reports that these calls for the attached connection work again. */
  hostMended(fault: VifdError): void {
    this.#faults.end(`host ${fault.message}`);
  }

  /**
   * Reports that the host fails to end a connection's mappings or event channels. However many calls fail, that is one fault, since they are
   * tried again together. It may outlive the connection and the vif.
   */
  hostOfEnding(fault: VifdError): void {
    if (this.#faults.has('ending')) return;
    this.#faults.begin('ending', this.#faults.prefixed(fault));
    if (this.#xen.whenEnded === undefined) this.#faults.forget((kind) => kind === 'ending');
    else this.#xen.whenEnded(() => this.#faults.end('ending'));
  }

  failed({ code, message }: VifdError): void {
    const text = `the connection cannot continue (${message}): vifd attaches to the guest again`;
    this.#faults.begin('failed', this.#faults.prefixed(new VifdError(code, text)));
  }

  /** @param queues how many queues the guest has. */
  stalled(queue: number, queues: number, linkDown: boolean): void {
    const where = queues > 1 ? ` by queue ${queue}` : '';
    const then = linkDown ? 'its link is down' : 'they are dropped';
    const message = `its guest takes no frames${where} for 60 s: ${then} until it does`;
    this.#faults.begin(`stall ${queue}`, this.#faults.about('ERR_STALLED', message));
  }

  recovered(queue: number): void {
    this.#faults.forget((kind) => kind === `stall ${queue}`);
  }

  /** Ends the host's faults of an attempt to attach that failed because of the guest. */
  refused(): void {
    this.#faults.forget((kind) => kind.startsWith('host '));
  }

  /** Ends the faults of a connection that is detached. */
  detached(): void {
    this.#faults.forget((kind) => OF_CONNECTION.some((what) => kind.startsWith(what)));
  }

  /** Ends the faults of a connection that is over. */
  over(): void {
    this.#faults.forget((kind) => kind === 'journal' || kind === 'failed');
  }
}
