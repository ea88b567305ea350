/**
 * The stalled queues of a guest. While all its queues are stalled, the port's link is down, as with Linux's netback (interface.c,
 * xenvif_queue_carrier_off), so that the host's network stack sends no frames to the guest.
 */
export class Stalls {
  readonly #setLink: (up: boolean) => boolean;
  readonly #queues: number;
  readonly #stalled = new Set<number>();

  /** @param queues how many queues the guest has. */
  constructor(setLink: (up: boolean) => boolean, queues: number) {
    this.#setLink = setLink;
    this.#queues = queues;
  }

  /** Sets the link up, because the previous process or connection may have ended while all queues were stalled. */
  begin(): void {
    this.#setLink(true);
  }

  /** Records that a queue is stalled. @returns whether the link is down now because of that. */
  add(queue: number): boolean {
    this.#stalled.add(queue);
    return this.#stalled.size === this.#queues && this.#setLink(false);
  }

  /** Records that a queue has recovered. */
  remove(queue: number): void {
    if (this.#stalled.size === this.#queues) this.#setLink(true);
    this.#stalled.delete(queue);
  }
}
