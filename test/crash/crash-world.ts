import { memoryJournals } from '../../lib/netback/journal.js';
import { Netback } from '../../lib/netback/netback.js';
import type { PayloadMode } from '../../lib/netback/types.js';
import { type CheckerCounts, createVif, Netfront, TrafficPort } from '../../lib/netfront/index.js';
import type { Port, PortBatches, PortIo, PortOptions } from '../../lib/ports/types.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../../lib/xen/model/index.js';

export interface Scenario {
  readonly payload: PayloadMode;
  /** Lengths of frames in turn; longer than 1514 is GSO with its extra-info slot. */
  readonly sizes: readonly number[];
  /** Frames each way. */
  readonly frames: number;
  /** Where the rings' indices begin. */
  readonly ringStart: number;
  /** Whether the lives have a journal: without, a kill in the wrong instant must show. */
  readonly journal: boolean;
}

export interface Outcome {
  /** Steps that the life took which was not killed, or was killed last. */
  readonly steps: number;
  readonly fromGuest: CheckerCounts;
  readonly toGuest: CheckerCounts;
  /** Frames that the guest was told were sent, or refused. */
  readonly sent: number;
  /** What Linux's netfront would not forgive. */
  readonly violations: readonly string[];
  readonly errors: readonly string[];
}

/** A guest with an oracle, and lives of the backend that are killed at a given step each; the last one is not. */
export async function runLives(scenario: Scenario, kills: readonly number[]): Promise<Outcome> {
  const hypervisor = new ModelHypervisor();
  const errors: string[] = [];
  const host = new TrafficPort({
    generate: { seed: 2, sizes: scenario.sizes, frames: 0 },
    check: { seed: 1 },
  });
  const guest = new TrafficPort({
    generate: { seed: 1, sizes: scenario.sizes, frames: 0 },
    check: { seed: 2 },
  });
  const journals = scenario.journal ? { journals: memoryJournals() } : {};
  const toolstack = hypervisor.open(0);
  await settled(hypervisor, createVif(toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }));
  const connecting = Netfront.connect({
    xen: hypervisor.open(7),
    handle: 0,
    port: guest,
    ringStart: scenario.ringStart,
  });

  let steps = 0;
  let front: Netfront | undefined;
  for (const killAt of [...kills, Number.POSITIVE_INFINITY]) {
    steps = 0;
    const onStep = () => {
      steps += 1;
      if (steps === killAt) throw new ModelKilled();
    };
    const life = hypervisor.open(0, { onStep });
    const port = new SteppedPort(host, life);
    const opening = Netback.open(
      { xen: life, port: () => port, payload: scenario.payload, ...journals },
      { error: (error) => errors.push(error.message) },
    );
    opening.catch((error) => errors.push(String(error)));
    await hypervisor.settle();
    if (front === undefined && life.alive) {
      front = await settled(hypervisor, connecting);
      // All frames at once: the rings fill, and both directions are under way together.
      guest.send(scenario.frames);
      host.send(scenario.frames);
      await hypervisor.settle();
    }
  }
  return {
    steps,
    fromGuest: host.checker!.counts,
    toGuest: guest.checker!.counts,
    sent: front!.stats.fromGuest.frames,
    violations: front!.violations.list.map(({ kind, detail }) => `${kind}: ${detail}`),
    errors: errors.filter((error) => !error.includes('this life of the process ended')),
  };
}

async function settled<T>(hypervisor: ModelHypervisor, work: PromiseLike<T>): Promise<T> {
  await hypervisor.settle();
  return work;
}

/** A port outside the process, as a tap is: each frame that crosses is a step at which the process may end. */
class SteppedPort implements Port {
  readonly name = 'stepped';
  readonly writesMapped = false;
  readonly #inner: Port;
  readonly #life: ModelXen;

  constructor(inner: Port, life: ModelXen) {
    this.#inner = inner;
    this.#life = life;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    const life = this.#life;
    const io = this.#inner.open(batches, { ...options, onReadable: () => mortal(life, options.onReadable) });
    return {
      write: () => this.#write(batches, io),
      read: () => {
        life.step('port read');
        const frames = io.read();
        life.step('port was read');
        return frames;
      },
      wantReadable: () => io.wantReadable(),
      close: () => io.close(),
    };
  }

  /** Killed before frame i, the frames before it are in the port. */
  #write({ writes }: PortBatches, io: PortIo): number {
    const count = writes.count;
    for (let i = 0; i <= count; i++) {
      try {
        this.#life.step(`port write ${i}`);
      } catch (error) {
        writes.count = i;
        io.write();
        // The process leaves its memory as it was.
        writes.count = count;
        throw error;
      }
    }
    return io.write();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Runs code of a life from outside of it, where nobody expects that it may end in it. */
function mortal(life: ModelXen, run: () => void): void {
  if (!life.alive) return;
  try {
    run();
  } catch (error) {
    if (!(error instanceof ModelKilled)) throw error;
  }
}
