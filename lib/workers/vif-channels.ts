import { closeSync } from 'node:fs';
import { hostFault, VifdError } from '../errors.js';
import type { ConnectionChannels } from '../netback/vif/vif-parts.js';
import type { VifId } from '../netback/vif-info.js';
import type { EventChannel, Events, LastingEvents, StoredEvents, Xen } from '../xen/seam.js';
import type { Link } from './link.js';

export interface VifChannelsParts {
  readonly xen: Xen;
  /** Whether the process that served the vif before may still have channels bound. */
  readonly mayBeBound: (vif: VifId) => boolean;
}

/**
 * The event channels of a worker's connections, each connection with a handle of its own. The supervisor has duplicates of the handles, so that
 * the channels stay bound when the worker dies, and the next worker takes them over.
 */
export class VifChannels implements Disposable {
  readonly #parts: VifChannelsParts;
  /** What came with a vif and that no connection has used yet. */
  readonly #given = new Map<VifId, StoredEvents>();
  readonly #stored = new Map<VifId, LastingEvents>();
  #link: Link | undefined;

  constructor(parts: VifChannelsParts) {
    this.#parts = parts;
  }

  /** Sends all channels by this link, and from then on each change; undefined: there is none. */
  sendTo(link: Link | undefined): void {
    this.#link = link;
    for (const vif of this.#stored.keys()) this.#send(vif);
  }

  /** Owns channels that came by the link, for the next connection of the vif. */
  own(vif: VifId, stored: StoredEvents): void {
    this.drop(vif);
    this.#given.set(vif, stored);
  }

  /** Closes those that no connection has used. */
  drop(vif: VifId): void {
    const given = this.#given.get(vif);
    this.#given.delete(vif);
    if (given !== undefined) closeSync(given.descriptor);
  }

  /** Closes all that no connection has used. */
  [Symbol.dispose](): void {
    for (const vif of [...this.#given.keys()]) this.drop(vif);
  }

  /** See `OpenChannels`. */
  open(vif: VifId): ConnectionChannels | undefined {
    const given = this.#given.get(vif);
    try {
      const lasting = (given && this.#opened(given)) ?? this.#opened();
      return lasting === undefined ? this.#plain(vif) : this.#channelsOf(vif, lasting);
    } finally {
      // A handle that was opened with it has a duplicate.
      this.drop(vif);
    }
  }

  /** @returns undefined where channels do not last, and for a fault of the host: then the caller uses others. */
  #opened(given?: StoredEvents): LastingEvents | undefined {
    try {
      return this.#parts.xen.openLastingEvents?.(given);
    } catch (error) {
      if (error instanceof VifdError && error.code === 'ERR_HOST') return undefined;
      throw error;
    }
  }

  #plain(vif: VifId): ConnectionChannels | undefined {
    if (!this.#parts.mayBeBound(vif)) return undefined;
    return { events: this.#patient(vif, this.#parts.xen.events), keep: () => {}, [Symbol.dispose]: () => {} };
  }

  #channelsOf(vif: VifId, lasting: LastingEvents): ConnectionChannels {
    return {
      events: this.#patient(vif, lasting),
      keep: () => {
        this.#stored.set(vif, lasting);
        this.#send(vif);
      },
      [Symbol.dispose]: () => {
        if (this.#stored.get(vif) === lasting) {
          this.#stored.delete(vif);
          this.#link?.send({ report: 'forget-channels', vif });
        }
        lasting[Symbol.dispose]();
      },
    };
  }

  /** A port that the previous process still has bound is no fault of the guest: the vif tries again. */
  #patient(vif: VifId, events: Events): Events {
    return {
      bind: (domid, remotePort, onEvent, onFault): EventChannel => {
        try {
          return events.bind(domid, remotePort, onEvent, onFault);
        } catch (error) {
          const isBound = error instanceof VifdError && error.code === 'ERR_XEN_EVENT';
          if (!isBound || !this.#parts.mayBeBound(vif)) throw error;
          throw hostFault(`Binding event channel ${remotePort} of domain ${domid}`, error.errno ?? 'EINVAL');
        }
      },
      bindUnbound: (domid, onEvent) => events.bindUnbound(domid, onEvent),
    };
  }

  #send(vif: VifId): void {
    const stored = this.#stored.get(vif)?.stored;
    if (stored !== undefined)
      this.#link?.send({ report: 'keep-channels', vif, ports: stored.ports }, [stored.descriptor]);
  }
}
