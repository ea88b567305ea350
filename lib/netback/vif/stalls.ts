/**
 * The stalled queues of a guest. While all its queues are stalled, the port's link is down, as with Linux's netback (interface.c,
 * xenvif_queue_carrier_off): the host's stack sends the guest nothing.
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

  /** Takes the link up: the previous process or connection may have ended while all queues were stalled. */
  begin(): void {
    this.#setLink(true);
  }

  /** A queue stalls. @returns whether that took the link down. */
  add(queue: number): boolean {
    this.#stalled.add(queue);
    return this.#stalled.size === this.#queues && this.#setLink(false);
  }

  /** A queue has recovered. */
  remove(queue: number): void {
    if (this.#stalled.size === this.#queues) this.#setLink(true);
    this.#stalled.delete(queue);
  }
}
