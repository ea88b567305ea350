import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Journals } from '../../lib/durable/journal.js';
import type { VifdError } from '../../lib/errors.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import { Netback } from '../../lib/netback/netback.js';
import type { PayloadMode } from '../../lib/netback/settings.js';
import { tap } from '../../lib/ports/tap.js';
import { backendVifPath, frontendVifPath } from '../../lib/protocol/xenbus.js';
import type { Xen } from '../../lib/xen/seam.js';
import { type Machine, xensimMachine, xensimMissing } from '../../worlds/model/machine.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { withTaps } from '../tap-network.js';

const WARM_UP = 20;
/** A guest that connects faster has to wait. */
const LEISURE_MS = 3000;
/** V8 retains memory for compiled code and its feedback; a connection that leaked would be 1.5 MB a queue each time. */
const HEAP_GROWTH_MAX = 4 << 20;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

/** The resources of this process. */
async function held(directory: string) {
  // Finalizers run in turns of the event loop, and the next collection finds what they release.
  for (let round = 0; round < 4; round++) {
    gc();
    await sleep(5);
  }
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const { blocks, bfree, bsize } = statfsSync(directory);
  const { heapUsed, external } = process.memoryUsage();
  return {
    ofJournals: maps.filter((line) => line.includes('.journal')).length,
    deleted: maps.filter((line) => line.includes('.journal (deleted)')).length,
    mappings: maps.filter((line) => /vifd-machine|\.journal/.test(line)).length,
    descriptors: readdirSync('/proc/self/fd').length,
    usedBytes: (blocks - bfree) * bsize,
    memory: heapUsed + external,
  };
}

/** A guest of several queues that connects again and again, served through a tap with journals on a tmpfs. */
class Reconnecting {
  readonly #machine: Machine;
  readonly #guests: RawGuest[] = [];
  #toolstack!: Xen;
  #dom0!: Xen;
  #netback!: Netback;
  #leisureMs = 0;
  #came: () => void = () => {};
  #failed: (error: VifdError) => void = () => {};

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  async begin(queues: number, payload: PayloadMode, journals: Journals | undefined): Promise<void> {
    this.#toolstack = await this.#machine.open(0);
    const xen = await this.#machine.open(7);
    for (let queue = 0; queue < queues; queue++) this.#guests.push(new RawGuest(xen));
    this.#dom0 = await this.#machine.open(0);
    const [first] = this.#guests;
    await first.connect(this.#toolstack);
    if (queues > 1) {
      const keys = Object.fromEntries(
        this.#guests.flatMap((guest, queue) =>
          Object.entries(guest.offer()).map(([key, value]) => [`queue-${queue}/${key}`, value]),
        ),
      );
      await this.#write({ ...keys, 'multi-queue-num-queues': `${queues}` });
      // As an earlier backend has offered it.
      await this.#toolstack.store.write(`${backendVifPath(0, 7, 0)}/multi-queue-max-queues`, `${queues}`);
    }
    const attached = this.#next();
    this.#netback = await Netback.open(
      {
        xen: this.#atLeisure(),
        port: ({ id }) => tap({ name: id, up: true, multiQueue: true }),
        payload,
        queues,
        journals: journals ?? false,
      },
      {
        attached: () => this.#came(),
        detached: () => this.#came(),
        error: (error) => this.#failed(error),
      },
    );
    await attached;
  }

  async reconnect(): Promise<void> {
    this.#leisureMs += LEISURE_MS;
    // Between two looks a guest may have reconnected; with the same rings that is no new connection.
    const detached = this.#next();
    await this.#write({ state: '1' });
    await detached;
    const attached = this.#next();
    await this.#write({ state: '4' });
    await attached;
    for (const guest of this.#guests) guest.send([{ size: 100 }]);
  }

  async end(): Promise<void> {
    this.#came = () => {};
    await this.#netback[Symbol.asyncDispose]();
    await this.#machine.close();
  }

  /** As the backend sees it, the guest takes its time between its connections. */
  #atLeisure(): Xen {
    const { domid, store, grants, events, shares, clock } = this.#dom0;
    const { after } = clock;
    const leisurely = { now: () => clock.now() + this.#leisureMs, after };
    return {
      ...{ domid, store, grants, events, shares, clock: leisurely },
      [Symbol.asyncDispose]: () => this.#dom0[Symbol.asyncDispose](),
    };
  }

  /** Resolves when the guest was attached or detached. */
  #next(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#came = resolve;
      this.#failed = reject;
    });
  }

  async #write(keys: Record<string, string>): Promise<void> {
    const front = frontendVifPath(7, 0);
    for (const [key, value] of Object.entries(keys))
      await this.#toolstack.store.write(`${front}/${key}`, value);
  }
}

describe.skipIf(xensimMissing !== undefined)('a guest that connects again and again', () => {
  withTaps(import.meta.url, () => {
    let directory: string;
    let guest: Reconnecting | undefined;
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), 'vifd-run-'));
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m,mode=700', 'tmpfs', directory]);
    });
    afterEach(async () => {
      await guest?.end();
      execFileSync('umount', [directory]);
      rmSync(directory, { recursive: true });
    });

    it.each([
      ['by copy, with one queue, 1000 times', 1, 'copy', true, 1000],
      ['by copy, with four queues', 4, 'copy', true, 40],
      ['by mapping, with three queues', 3, 'map', true, 40],
      ['by copy, without journals', 1, 'copy', false, 40],
    ] as const)(
      'leaves nothing of its connections behind: %s',
      { timeout: 300_000 },
      async (_what, queues, payload, withJournals, times) => {
        guest = new Reconnecting(xensimMachine());
        await guest.begin(queues, payload, withJournals ? journalFiles(directory) : undefined);
        for (let i = 0; i < WARM_UP; i++) await guest.reconnect();
        const before = await held(directory);
        for (let i = 0; i < times; i++) await guest.reconnect();
        const after = await held(directory);
        const { memory, ...rest } = after;
        const { memory: memoryBefore, ...restBefore } = before;
        expect(rest).toEqual(restBefore);
        expect(after.deleted).toBe(0);
        // One for each queue, the connection's, and the counters.
        expect(after.ofJournals).toBe(withJournals ? queues + 2 : 0);
        expect(memory - memoryBefore).toBeLessThan(HEAP_GROWTH_MAX);
      },
    );
  });
});
