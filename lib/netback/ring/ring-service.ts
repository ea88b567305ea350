import type { VifdError } from '../../errors.js';
import { UndoStack } from '../../undo.js';
import type { Clock, EventChannel, Events } from '../../xen/seam.js';
import type { HostFaultListener } from '../faults/host-faults.js';
import type { LoopShare } from './loop-shares.js';
import { type PumpResult, Turns } from './turns.js';

/** Serves the requests of one ring. */
export interface Pump {
  /** Its name among the parts of its connection; each part may have a fault of the host. */
  readonly name: string;
  /** The guest's event channel for the ring. Rings may share one (netif.h: event-channel). */
  readonly port: number;
  /** Works for one turn. @param notify sends an event to the guest. */
  readonly run: (notify: () => void) => PumpResult;
  /** An event ends each wait of the pump: it waits for the guest's requests. Default: it waits until its time is up. */
  readonly eventsEndWaits?: boolean;
}

export interface RingServiceParts {
  readonly clock: Clock;
  readonly events: Events;
  readonly domid: number;
  readonly pumps: readonly Pump[];
  /** Bounds the turns of the guest. */
  readonly share: LoopShare;
  /** Called when the guest broke the protocol. By then the service has ended the turns of that pump, and nothing else. */
  readonly onStop: (reason: string) => void;
  /** Called when a pump cannot continue, because its memory is gone or because of a bug. */
  readonly onFailure: (error: VifdError) => void;
  /** @returns a listener for one part of the connection. */
  readonly hostFaultsOf: (part: string) => HostFaultListener;
}

/**
 * Serves rings that belong together: binds their event channels and gives their pumps turns. An event masks its channel until no pump has
 * a turn any more (late EOI, XSA-332), so a guest that sends a storm of events causes one event for each turn.
 */
export class RingService implements Disposable {
  /** By pump. */
  readonly turns: readonly Turns[];
  /** By port, in the order in which the pumps name them. */
  readonly #channels: EventChannel[] = [];
  /** A bit for each masked channel. */
  #masked = 0;
  readonly #undo = new UndoStack();

  /** @throws VifdError ERR_XEN_EVENT; ERR_HOST: try again later. After a throw no channel is bound. */
  constructor(parts: RingServiceParts) {
    const { pumps } = parts;
    const ports = [...new Set(pumps.map(({ port }) => port))];
    this.turns = pumps.map((pump) => this.#turnsOf(parts, pump, ports.indexOf(pump.port)));
    try {
      for (const port of ports) this.#bind(parts, port);
    } catch (error) {
      throw this.#undo.after(error);
    }
  }

  /**
   * Notifies each channel once, since the guest may wait for an event that the previous process did not send. Then runs the first turns.
   */
  start(): void {
    for (const channel of this.#channels) channel.notify();
    for (const turns of this.turns) turns.start();
  }

  /** Closes the channels and ends the turns. A pump that has a turn now finishes it without an event to the guest. */
  [Symbol.dispose](): void {
    this.#channels.length = 0;
    this.#undo[Symbol.dispose]();
  }

  #turnsOf(parts: RingServiceParts, { name, run }: Pump, channel: number): Turns {
    const notify = (): void => this.#channels[channel]?.notify();
    const turns = new Turns({
      pump: () => run(notify),
      clock: parts.clock,
      share: parts.share,
      onIdle: () => this.#unmaskIfIdle(),
      onStop: parts.onStop,
      onFailure: parts.onFailure,
      onHostFault: parts.hostFaultsOf(name),
    });
    this.#undo.defer(() => turns.end());
    return turns;
  }

  #bind({ events, domid, pumps, hostFaultsOf }: RingServiceParts, port: number): void {
    const bit = 1 << this.#channels.length;
    const wakes: Array<() => void> = [];
    let name = '';
    for (const [index, pump] of pumps.entries()) {
      if (pump.port !== port) continue;
      const turns = this.turns[index];
      wakes.push(pump.eventsEndWaits ? () => turns.rouse() : () => turns.wake());
      name += `${pump.name} `;
    }
    const onEvent = (): void => {
      this.#masked |= bit;
      for (const wake of wakes) wake();
    };
    const channel = events.bind(domid, port, onEvent, hostFaultsOf(`${name}channel`));
    this.#channels.push(channel);
    this.#undo.defer(() => channel.close());
  }

  #unmaskIfIdle(): void {
    if (this.#masked === 0) return;
    for (const { idle } of this.turns) if (!idle) return;
    const masked = this.#masked;
    this.#masked = 0;
    for (let i = 0; i < this.#channels.length; i++) if ((masked & (1 << i)) !== 0) this.#channels[i].unmask();
  }
}
