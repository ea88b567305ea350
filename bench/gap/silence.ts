/** How long no frame came, as one who waits for frames sees it. */
export class Silence {
  #heardMs = 0;
  #longestMs = 0;

  /** When the last frame came, by `performance.now`. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** The longest time between two frames since `begin`: from the last frame before it on. */
  get longestMs(): number {
    return this.#longestMs;
  }

  hear(nowMs: number): void {
    if (this.#heardMs > 0) this.#longestMs = Math.max(this.#longestMs, nowMs - this.#heardMs);
    this.#heardMs = nowMs;
  }

  begin(): void {
    this.#longestMs = 0;
  }
}
