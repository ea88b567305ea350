import type { VifdError } from '../errors.js';
import type { Port } from '../ports/port.js';
import type { VifStats } from './frames/counters.js';
import type { Direction, FrameHook, FrameStream } from './frames/frame.js';
import type { VifDetails } from './show.js';
import type { VifInfo, VifState } from './vif-info.js';

/** One guest's network interface, as programs see it that embed vifd: `Netback.vifs` and the events of a netback have it. */
export interface Vif extends VifInfo {
  readonly state: VifState;
  /** Why the vif is stopped, or else what is wrong with it. */
  readonly reason: string | undefined;
  /** What is wrong now, for no fault of the guest: reported when it began, and retried. */
  readonly faults: readonly VifdError[];
  /** The counters of all queues and of the port together. */
  readonly stats: VifStats;
  /** The counters of each queue that the guest has, or had. */
  readonly queueStats: readonly VifStats[];
  /** Undefined while no port is open. */
  readonly port: Port | undefined;
  /** Returns all that is known of the vif, as plain data. */
  show(): VifDetails;
  /**
   * Tells the guest whether its link is up. Frames move all the same: this is for the guest's information.
   * @throws VifdError ERR_STATE once the vif is detached.
   */
  setCarrier(up: boolean): Promise<void>;
  /** Runs `hook` inline on every frame until the result is disposed of. See FrameHook. */
  hook(hook: FrameHook): Disposable;
  /**
   * Returns copies of the frames that pass. At most `limit` wait to be read (default 1024); later ones are not copied, but counted
   * (`FrameStream.missed`).
   */
  frames(options?: { direction?: Direction; signal?: AbortSignal; limit?: number }): FrameStream;
  /** Tells the guest that the device goes away. No other call does. @throws VifdError ERR_STATE once the vif is detached. */
  close(): Promise<void>;
}
