import { setTimeout as sleep } from 'node:timers/promises';
import { memoryJournals } from '../lib/durable/journal.js';
import { Netback } from '../lib/netback/netback.js';
import { ModelHypervisor, ModelKilled, type ModelXen } from '../lib/testing/model/index.js';
import { createVif, Netfront } from '../lib/testing/netfront/index.js';
import { WorldError } from '../worlds/world-error.js';
import { REPORT_MS } from './messages.js';
import { ModelPort } from './model-port.js';
import type { DemoOptions } from './options.js';
import type { Ending, Recorder } from './recorder.js';
import { FIRST_DOMID, type World, type WorldParts } from './world.js';

const ATTACH_TIMEOUT_MS = 10_000;
/** After how many more observable operations a kill falls, another number each time. */
const KILL_STEPS = 23;
/** An idle process takes no steps: after this time it is killed at the step where it waits. */
const KILL_WAIT_MS = 20;

interface Guest {
  readonly domid: number;
  readonly inside: ModelPort;
  readonly outside: ModelPort;
  readonly front: Netfront;
}

/** One process of the backend. */
interface Process {
  readonly xen: ModelXen;
  readonly netback: Netback;
  /** Ends the process between two of its steps. */
  kill(): Promise<void>;
}

export async function openModelWorld(parts: WorldParts): Promise<World> {
  const world = new ModelWorld(parts.options, parts.recorder);
  try {
    await world.start(parts.signal);
    return world;
  } catch (error) {
    await world[Symbol.asyncDispose]();
    throw error;
  }
}

/** Runs backend, guests and hypervisor in one process. Frames whose every byte is known replace TCP. */
class ModelWorld implements World {
  readonly about = 'the model: hypervisor, guests and backend in one process, known frames instead of TCP';
  readonly compare = undefined;
  readonly #options: DemoOptions;
  readonly #recorder: Recorder;
  readonly #hypervisor = new ModelHypervisor({ autorun: true });
  readonly #outside = new Map<number, ModelPort>();
  readonly #guests: Guest[] = [];
  #running: Process | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #journals = memoryJournals();
  #kills = 0;

  constructor(options: DemoOptions, recorder: Recorder) {
    this.#options = options;
    this.#recorder = recorder;
  }

  async start(signal: AbortSignal): Promise<void> {
    const toolstack = this.#hypervisor.open(0);
    const fronts: Promise<void>[] = [];
    for (let i = 0; i < this.#options.guests; i++) {
      const domid = FIRST_DOMID + i;
      const mac = `00:16:3e:77:00:${(i + 1).toString(16).padStart(2, '0')}`;
      await createVif(toolstack.store, { domid, handle: 0, mac });
      fronts.push(this.#startGuest(domid, i, signal));
    }
    this.#running = await this.#begin();
    await Promise.all(fronts);
    await Promise.all(
      this.#guests.map(({ front }) => front.connected({ signal, timeoutMs: ATTACH_TIMEOUT_MS })),
    );
    this.#timer = setInterval(() => this.#report(), REPORT_MS);
  }

  async restart(ending: Ending): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    if (ending === 'SIGKILL') await running.kill();
    else {
      await running.netback[Symbol.asyncDispose]();
      await running.xen[Symbol.asyncDispose]();
    }
    this.#running = await this.#begin();
  }

  finish(): Promise<void> {
    this.#report();
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#running?.xen.kill();
    this.#running = undefined;
  }

  async #startGuest(domid: number, index: number, signal: AbortSignal): Promise<void> {
    const recorder = this.#recorder;
    const name = `guest ${index + 1}`;
    const [out, into] = [2 * index + 1, 2 * index + 2];
    const toHost = recorder.addStream(name, 'host');
    const toGuest = recorder.addStream('host', name);
    const outside = new ModelPort({ name, sends: into, expects: out, stream: toHost, recorder });
    const inside = new ModelPort({ name, sends: out, expects: into, stream: toGuest, recorder });
    this.#outside.set(domid, outside);
    const front = await Netfront.connect({
      xen: this.#hypervisor.open(domid),
      handle: 0,
      port: inside,
      signal,
      onViolation: ({ kind, ring, slot, detail }) =>
        recorder.violation(`${name}: ${kind} in slot ${slot} ${ring}: ${detail}`),
    });
    front.closed.then((why) => recorder.reset(toGuest, why));
    this.#guests.push({ domid, inside, outside, front });
  }

  /** Starts a process. Resolves when it serves every guest that was connected. */
  async #begin(): Promise<Process> {
    // How many more steps the process takes until it is killed; infinite by default.
    let fuse = Number.POSITIVE_INFINITY;
    const xen = this.#hypervisor.open(0, {
      onStep: (what) => {
        fuse -= 1;
        if (fuse <= 0) throw new ModelKilled(what);
      },
    });
    const netback = await Netback.open(
      {
        xen,
        port: ({ domid }) => this.#portOf(domid),
        payload: this.#options.payload,
        journals: this.#journals,
      },
      {
        error: (error) => {
          if (xen.alive && !(error.cause instanceof ModelKilled))
            this.#recorder.complaints.push(error.message);
        },
      },
    );
    await this.#allServed(netback);
    const kill = async (): Promise<void> => {
      this.#kills += 1;
      fuse = ((this.#kills * 7) % KILL_STEPS) + 1;
      await sleep(KILL_WAIT_MS);
      xen.kill();
    };
    return { xen, netback, kill };
  }

  async #allServed(netback: Netback): Promise<void> {
    const served = () =>
      this.#guests.every(({ domid }) => netback.vifs.get(`vif${domid}.0`)?.state === 'connected');
    const late = AbortSignal.timeout(ATTACH_TIMEOUT_MS);
    while (!served()) {
      if (late.aborted) throw new WorldError('the backend did not attach to every guest within 10 s');
      await sleep(1);
    }
  }

  #portOf(domid: number): ModelPort {
    const port = this.#outside.get(domid);
    if (port === undefined) throw new WorldError(`there is no guest of domain ${domid}`);
    return port;
  }

  #report(): void {
    for (const { inside, outside } of this.#guests) {
      inside.report();
      outside.report();
    }
  }
}
