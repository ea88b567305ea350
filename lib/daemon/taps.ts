import type { VifdError } from '../errors.js';
import type { DescriptorKeeper } from '../host/descriptor-keeper.js';
import type { Interfaces } from '../host/interfaces.js';
import { aliasFor, findMarkedTap, findTap } from '../host/vif-taps.js';
import { QUEUES_MAX } from '../netback/settings.js';
import type { Port } from '../ports/port.js';
import { tap } from '../ports/tap.js';
import type { TapMemory } from '../ports/tap-link.js';
import type { TapOptions } from '../ports/tap-options.js';

export interface TapsOptions {
  /** Stores the descriptors of taps while no vifd runs. */
  readonly keeper: DescriptorKeeper;
  /** The network interfaces of the taps' namespace. */
  readonly network: Interfaces;
  /** Whether taps are made to have several queues. */
  readonly multiQueue: boolean;
  /** Called when the first tap gets short queues (TapOptions.onShortQueues). */
  readonly onError?: (error: VifdError) => void;
  /** Called when no tap has short queues any more, with the error that was reported. */
  readonly onMended?: (error: VifdError) => void;
}

/** Options for the tap of a vif. `name`: its present name; default: its last known name, or else that of the vif. */
export type VifTapOptions = Omit<TapOptions, 'name'> & { readonly vif: string; readonly name?: string };

/**
 * The taps of `vifd run`. While a process has a descriptor of a tap, the kernel queues frames for it (4 MiB, see TapLimit).
 * Otherwise such frames are lost and the tap has no carrier.
 */
export class Taps {
  readonly #options: TapsOptions;
  /** The last settings of each vif's tap, with which a deleted device is created anew. */
  readonly #memories = new Map<string, TapMemory>();
  /** Why a vif's tap has short queues, by vif. */
  readonly #short = new Map<string, VifdError>();
  #reported: VifdError | undefined;

  constructor(options: TapsOptions) {
    this.#options = options;
  }

  open(how: VifTapOptions): Port {
    const { keeper, network, multiQueue } = this.#options;
    const { vif } = how;
    const memory = this.#memories.get(vif) ?? {};
    this.#short.delete(vif);
    const options: TapOptions = {
      ...how,
      name: how.name ?? memory.settings?.name ?? vif,
      alias: aliasFor(vif),
      memory,
      multiQueue,
      descriptors: this.#takeStored(vif),
      onShortQueues: (error) => this.#onShortQueues(vif, error),
      onOpened: (descriptor, queue) => keeper.keep(storedName(vif, queue), descriptor),
      onClosed: (queue) => keeper.forget(storedName(vif, queue)),
    };
    const port = tap(options, network);
    this.#reportShort();
    this.#memories.set(vif, memory);
    const remove = port.remove?.bind(port);
    port.remove = async () => {
      this.#memories.delete(vif);
      this.#onShortQueues(vif, undefined);
      await remove?.();
    };
    return port;
  }

  /**
   * Removes the tap of a vif that is gone.
   * @throws VifdError ERR_TAP, with EBUSY if another process has it open.
   */
  async remove(vif: string): Promise<void> {
    const name = findTap(this.#options.network, vif)?.name;
    await this.open({ vif, ...(name === undefined ? {} : { name }) }).remove?.();
  }

  /**
   * Removes the tap that an earlier process made for a vif that is gone. It does not remove a tap whose alias does not name the vif, since vifd
   * did not make that one, nor a tap that another process has open.
   */
  async removeLeft(vif: string): Promise<void> {
    if (findMarkedTap(this.#options.network, vif) === undefined) return;
    await this.remove(vif).catch((error: VifdError) => {
      if (error.errno !== 'EBUSY') throw error;
    });
  }

  #onShortQueues(vif: string, error: VifdError | undefined): void {
    if (error === undefined) this.#short.delete(vif);
    else this.#short.set(vif, error);
    this.#reportShort();
  }

  /** Reports short queues once for all taps, since a kernel that refuses the program for one refuses it for all. */
  #reportShort(): void {
    const { onError, onMended } = this.#options;
    const [error] = this.#short.values();
    const before = this.#reported;
    if ((before === undefined) === (error === undefined)) return;
    this.#reported = error;
    if (error !== undefined) onError?.(error);
    else if (before !== undefined) onMended?.(before);
  }

  /** Returns the stored descriptors of a vif's tap by queue; undefined for a queue without one. */
  #takeStored(vif: string): (number | undefined)[] {
    const { keeper } = this.#options;
    const descriptors: (number | undefined)[] = [];
    for (let queue = 0; queue < QUEUES_MAX; queue++) {
      const descriptor = keeper.take(storedName(vif, queue));
      if (descriptor !== undefined) descriptors[queue] = descriptor;
    }
    return Array.from(descriptors);
  }
}

/** Returns the name of a queue's stored descriptor. For the first queue it is the vif's name, as in versions with one queue. */
function storedName(vif: string, queue: number): string {
  return queue === 0 ? vif : `${vif}.q${queue}`;
}
