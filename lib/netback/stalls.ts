import type { Port } from '../ports/types.js';

/**
 * The queues of a guest that take no frames. While none of them does, the port's link is down, as with Linux's netback
 * (interface.c, xenvif_queue_carrier_off): the host's stack sends it nothing.
 */
export class Stalls {
  readonly #port: Port;
  readonly #queues: number;
  readonly #stalled = new Set<number>();

  /** @param queues how many the guest has. */
  constructor(port: Port, queues: number) {
    this.#port = port;
    this.#queues = queues;
  }

  /** No queue is stalled. The earlier life or connection may have ended while all were. */
  begin(): void {
    this.#port.setCarrier?.(true);
  }

  /** @returns whether the link is down now. */
  add(queue: number): boolean {
    this.#stalled.add(queue);
    return this.#stalled.size === this.#queues && this.#port.setCarrier?.(false) === true;
  }

  remove(queue: number): void {
    if (this.#stalled.size === this.#queues) this.#port.setCarrier?.(true);
    this.#stalled.delete(queue);
  }
}
