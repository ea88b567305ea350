import { type TapOptions, tap } from '../ports/tap.js';
import type { Port } from '../ports/types.js';
import type { ServiceManager } from '../service-manager.js';

export interface TapsOptions {
  /** Keeps descriptors while no life runs. */
  readonly manager: ServiceManager | undefined;
  /** What it kept of an earlier life, by vif; each is taken out when it is used. */
  readonly kept: Map<string, number>;
}

/**
 * The taps of `vifd run`. While somebody has a descriptor of a tap, the kernel queues what is sent to it (1000 frames, its
 * txqueuelen); without one, such frames are lost and the tap has no carrier.
 */
export class Taps {
  readonly #options: TapsOptions;

  constructor(options: TapsOptions) {
    this.#options = options;
  }

  open(how: TapOptions): Port {
    const { manager } = this.#options;
    return tap({
      ...how,
      ...this.#takeKept(how.name),
      ...(manager && { onOpened: (descriptor) => manager.keep(how.name, descriptor) }),
    });
  }

  /** @throws VifdError ERR_TAP, with EBUSY when another process has it open. */
  async remove(name: string): Promise<void> {
    await tap({ name, ...this.#takeKept(name) }).remove?.();
  }

  #takeKept(name: string): Pick<TapOptions, 'descriptor'> {
    const descriptor = this.#options.kept.get(name);
    this.#options.kept.delete(name);
    return descriptor === undefined ? {} : { descriptor };
  }
}
