import type { VifdError } from '../errors.js';
import type { FrameReceiver } from '../ports/frame-port.js';
import type { FrameOffload } from '../ports/offload.js';
import type { Port } from '../ports/port.js';
import type { VifStats } from './frames/counters.js';
import type { FrameFilter, FrameHook, FrameStream, FramesOptions } from './frames/frame.js';
import type { VifDetails } from './show.js';
import type { VifInfo, VifState } from './vif-info.js';

/** One guest's network interface, for programs that embed vifd: `Netback.vifs` and the events of a netback have it. */
export interface Vif extends VifInfo, FrameReceiver {
  /** Whether frames move, and if not, why. */
  readonly state: VifState;
  /** Why the vif is stopped, or else its present fault. */
  readonly reason: string | undefined;
  /** The present faults that the guest has not caused. Each was reported when it began, and vifd tries again. */
  readonly faults: readonly VifdError[];
  /** The counters of all queues and of the port together. */
  readonly stats: VifStats;
  /** The counters of each queue that the guest has or had. */
  readonly queueStats: readonly VifStats[];
  /** Undefined while no port is open. */
  readonly port: Port | undefined;
  /** Returns all details of the vif as plain data. */
  show(): VifDetails;
  /**
   * Reports to the guest whether its link is up. This only informs the guest: frames move in both cases.
   * @throws VifdError ERR_STATE once the vif is detached.
   */
  setCarrier(up: boolean): Promise<void>;
  /** Runs `filter` inline on the headers of every frame until the result is disposed of. See FrameFilter. */
  filter(filter: FrameFilter): Disposable;
  /** Runs `hook` inline on every frame until the result is disposed of. See FrameHook. */
  hook(hook: FrameHook): Disposable;
  /**
   * Returns copies of the frames that pass, from now on. At most `limit` wait to be read; later ones are not copied, but counted
   * (`FrameStream.missed`). The stream of a vif that has ended is at its end.
   * @throws VifdError ERR_ARGUMENT for a bad `limit`.
   */
  frames(options?: FramesOptions): FrameStream;
  /**
   * Sends a frame to the guest, whatever its port is. Filters and hooks see it as one to the guest. It waits while the guest has posted no
   * buffers; what waits when vifd detaches, or for 10 s, is dropped.
   * @param offload see `FrameReceiver`.
   * @returns false if the frame was not taken, because the guest is not connected or because too many bytes wait (about a megabyte).
   * @throws VifdError ERR_ARGUMENT for anything but a Uint8Array of 14 to 65553 bytes.
   */
  send(frame: Uint8Array, offload?: Partial<FrameOffload>): boolean;
  /**
   * Closes the device for the guest; no other call does. Afterwards the vif is not in `Netback.vifs`, unless its guest connects again: refuse
   * that by `NetbackOptions.accept`. The event `gone` comes once the toolstack has removed the device.
   * @throws VifdError ERR_STATE once the vif is detached; ERR_STORE if the store cannot be written.
   */
  close(): Promise<void>;
}
