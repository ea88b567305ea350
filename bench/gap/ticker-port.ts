import { FramePort } from '../../lib/testing/netfront/index.js';

/** A guest's port that gives the same frame at each tick, and tells of every frame that comes. */
export class TickerPort extends FramePort {
  readonly #frame: Uint8Array;

  constructor(frame: Uint8Array, onFrame: (bytes: Uint8Array) => void) {
    // A frame waits to be read: one, however full the ring was at the ticks before.
    super({ name: 'ticker', onFrame, queuedMax: 1 });
    this.#frame = frame;
  }

  tick(): void {
    this.send(this.#frame);
  }
}
