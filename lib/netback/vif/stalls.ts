/**
 * The queues of a guest that take no frames. While none of them does, the port's link is down, as with Linux's netback
 * (interface.c, xenvif_queue_carrier_off): the host's stack sends it nothing.
 */
export class Stalls {
  readonly #setLink: (up: boolean) => boolean;
  readonly #queues: number;
  readonly #stalled = new Set<number>();

  /** @param queues how many the guest has. */
  constructor(setLink: (up: boolean) => boolean, queues: number) {
    this.#setLink = setLink;
    this.#queues = queues;
  }

  /** No queue is stalled. The previous process or connection may have ended while all were. */
  begin(): void {
    this.#setLink(true);
  }

  /** @returns whether the link is down now. */
  add(queue: number): boolean {
    this.#stalled.add(queue);
    return this.#stalled.size === this.#queues && this.#setLink(false);
  }

  remove(queue: number): void {
    if (this.#stalled.size === this.#queues) this.#setLink(true);
    this.#stalled.delete(queue);
  }
}
