import { VifdError } from '../../errors.js';
import type { FrameReceiver } from '../../ports/frame-port.js';
import type { FrameOffload } from '../../ports/offload.js';

/** A hook's verdict that sends the frame elsewhere. `redirect` makes it, once for all frames. */
export class Redirect {
  readonly #to: FrameReceiver;

  /** @throws VifdError ERR_ARGUMENT. */
  constructor(to: FrameReceiver) {
    if (typeof to?.send !== 'function')
      throw new VifdError(
        'ERR_ARGUMENT',
        'A redirect needs a receiver with `send`: give a frame port or a vif.',
      );
    this.#to = to;
  }

  /** Whether a value is one. A Proxy, whose traps would run at other questions, is not. */
  static is(value: unknown): value is Redirect {
    return typeof value === 'object' && value !== null && #to in value;
  }

  /** Sends a frame. @returns whether the receiver took it. */
  send(frame: Uint8Array, offload: FrameOffload): boolean {
    return this.#to.send(frame, offload);
  }
}

/**
 * Returns the verdict of a hook that sends the frame, with its offload, to the guest of `to` instead: a frame port sends to the guest that it is
 * the port of, a vif to its own guest. Call it once for each receiver, not for each frame. The frame counts as filtered; if the receiver does not
 * take it, as dropped (`drops.port`). The receiver's own filters and hooks see it, so two hooks may pass a frame back and forth without end.
 * @throws VifdError ERR_ARGUMENT for anything that has no `send`.
 */
export function redirect(to: FrameReceiver): Redirect {
  return new Redirect(to);
}
