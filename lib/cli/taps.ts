import { type TapOptions, tap } from '../ports/tap.js';
import type { Port } from '../ports/types.js';
import type { ServiceManager } from '../service-manager.js';

export interface TapsOptions {
  /** Keeps descriptors while no life runs. */
  readonly manager: ServiceManager | undefined;
  /** What it kept of an earlier life, by the names that they were given; each is taken out when it is used. */
  readonly kept: Map<string, number>;
  /** Whether taps are made to have several queues. */
  readonly multiQueue: boolean;
}

/**
 * The taps of `vifd run`. While somebody has a descriptor of a tap, the kernel queues what is sent to it (1000 frames for
 * each queue, its txqueuelen); without one, such frames are lost and the tap has no carrier.
 */
export class Taps {
  readonly #options: TapsOptions;

  constructor(options: TapsOptions) {
    this.#options = options;
  }

  open(how: TapOptions): Port {
    const { manager, multiQueue } = this.#options;
    const { name } = how;
    return tap({
      ...how,
      multiQueue,
      descriptors: this.#takeKept(name),
      ...(manager && {
        onOpened: (descriptor, queue) => manager.keep(keptName(name, queue), descriptor),
        onClosed: (queue) => manager.forget(keptName(name, queue)),
      }),
    });
  }

  /** @throws VifdError ERR_TAP, with EBUSY when another process has it open. */
  async remove(name: string): Promise<void> {
    await this.open({ name }).remove?.();
  }

  /** By queue. */
  #takeKept(name: string): (number | undefined)[] {
    const { kept } = this.#options;
    const descriptors: (number | undefined)[] = [];
    for (const [key, descriptor] of kept) {
      const queue = keptQueue(name, key);
      if (queue === undefined) continue;
      descriptors[queue] = descriptor;
      kept.delete(key);
    }
    return Array.from(descriptors);
  }
}

/** The first queue's has the vif's name, as when there were no others. */
function keptName(name: string, queue: number): string {
  return queue === 0 ? name : `${name}.q${queue}`;
}

/** @returns which queue of the tap a descriptor of this name is of; undefined when it is another tap's. */
function keptQueue(name: string, key: string): number | undefined {
  if (key === name) return 0;
  const queue = key.startsWith(`${name}.q`) ? key.slice(name.length + 2) : '';
  return /^[1-9][0-9]{0,2}$/.test(queue) ? Number(queue) : undefined;
}
