import { VifdError } from '../../errors.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../ports/port.js';

/** A port with several queues, each a port of its own. */
export class ManyQueues implements Port {
  /** The name of the first port. */
  readonly name: string;
  readonly writesMapped = false;
  readonly #ports: readonly Port[];

  /** @param ports one for each queue. */
  constructor(ports: readonly Port[]) {
    this.#ports = ports;
    this.name = ports.map(({ name }) => name).join('+');
  }

  /** How many ports there are. */
  get queuesMax(): number {
    return this.#ports.length;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    const index = options.queue?.index ?? 0;
    const port = this.#ports[index];
    if (port === undefined) throw new VifdError('ERR_ARGUMENT', `Port ${this.name} has no queue ${index}.`);
    return port.open(batches, options);
  }

  setCarrier(on: boolean): boolean {
    return this.#ports.map((port) => port.setCarrier?.(on) === true).every((done) => done);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const port of this.#ports) await port[Symbol.asyncDispose]();
  }
}
