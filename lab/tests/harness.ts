import type { PayloadMode } from '../../lib/netback/settings.js';
import type { Store } from '../../lib/xen/seam.js';
import { Guest } from '../drive/guest.js';
import { UnitVifd } from '../drive/unit.js';
import type { Vifd } from '../drive/vifd.js';

/**
 * `alone`: xen-netback is not in dom0, and vifd is a plain process. In the next three dom0 runs systemd, and vifd is the shipped unit.
 * `beside`: xen-netback is there. `systemd`: it is absent, and the first test installs vifd. `speed`: it is there, and QEMU's
 * netback. `driver-domain`: dom0 has neither systemd nor vifd, and the C xenstored; its first test installs vifd in another domain.
 * Each is one boot.
 */
export type Boot = 'alone' | 'beside' | 'systemd' | 'driver-domain' | 'speed';

export interface Test {
  readonly name: string;
  readonly boot: Boot;
  /** The payload mode of vifd. Guests continue to run when it changes. */
  readonly payload?: PayloadMode;
  /** Whether the unit has workers, as it is shipped with them. Guests continue to run when that changes. */
  readonly workers?: boolean;
  /** How long it takes when the emulator is slow (s), if that is more than SECONDS. A test for which the run has no time left is skipped. */
  readonly seconds?: number;
  /** Of the fixed part that every gate runs; the others take turns (choose.ts). */
  readonly core?: boolean;
  run(dom0: Dom0): Promise<void>;
}

/** For most tests (s): half of it is the start of a guest. */
export const SECONDS = 100;

/** Tests once by copy and then all by map: each change is one more process of vifd. */
export function inBothModes(tests: readonly Test[]): Test[] {
  return (['copy', 'map'] as const).flatMap((payload) =>
    tests.map((test) => ({ ...test, name: `${test.name} (${payload})`, payload })),
  );
}

export interface Result {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  readonly seconds: number;
  readonly reason?: string;
}

/** Thrown by a test that cannot run here. */
export class Skip extends Error {}

/** The parts that tests share: a store, one vifd, and guests that run from test to test, since a guest starts slowly. */
export class Dom0 {
  readonly store: Store;
  /** Tests that draw instants then draw many. */
  readonly long: boolean;
  readonly vifd: Vifd;

  constructor(store: Store, vifd: Vifd, long = false) {
    this.store = store;
    this.vifd = vifd;
    this.long = long;
  }

  /** The vifd of boots in which dom0 runs systemd. */
  get unit(): UnitVifd {
    if (this.vifd instanceof UnitVifd) return this.vifd;
    throw new Error('vifd is no unit in this boot');
  }

  /** Restarts a vifd that runs, if it is to run in another way. */
  async setUp({ payload = 'copy', workers = false }: Pick<Test, 'payload' | 'workers'>): Promise<void> {
    const { vifd } = this;
    const had = vifd instanceof UnitVifd && vifd.workers;
    if (vifd.payload === payload && had === workers) return;
    vifd.payload = payload;
    if (had !== workers) this.unit.workers = workers;
    if (!vifd.running) return;
    await vifd.stop('SIGTERM');
    await vifd.start();
  }

  /** A guest that vifd serves. */
  async guest(name = 'g1'): Promise<Guest> {
    if (!this.vifd.running) await this.vifd.start();
    return Guest.running(name);
  }

  /** A guest that vifd serves and that has two processors, so two queues. */
  async guestOfTwo(): Promise<Guest> {
    if (!this.vifd.running) await this.vifd.start();
    return Guest.running('g2', ['GUEST_VCPUS=2']);
  }

  /** Prints a line, also if the test passes. */
  note(text: string): void {
    console.log(`       ${text}`);
  }
}

/**
 * @param endMs on `performance.now()`'s clock; tests that would not end by then are skipped.
 * @param onResults gets all results so far after each test, because the machine may fail before the end.
 */
export async function runTests(
  tests: readonly Test[],
  dom0: Dom0,
  endMs: number,
  onResults: (results: readonly Result[]) => void,
): Promise<void> {
  const results: Result[] = [];
  for (const test of tests) {
    const began = performance.now();
    let failure: unknown;
    try {
      requireTime(test, endMs - began);
      await dom0.setUp(test);
      await test.run(dom0);
    } catch (error) {
      failure = error ?? new Error('an empty error');
    }
    const seconds = (performance.now() - began) / 1000;
    const result = resultOf(test, seconds, failure);
    results.push(result);
    onResults(results);
    report(result);
    if (result.outcome === 'failed')
      console.log(
        dom0.vifd.events
          .slice(-20)
          .map((event) => JSON.stringify(event))
          .join('\n'),
      );
  }
}

function requireTime({ seconds = SECONDS }: Test, leftMs: number): void {
  if (leftMs >= seconds * 1000) return;
  const left = Math.max(0, Math.round(leftMs / 1000));
  throw new Skip(`it takes up to ${seconds} s, and this run (--minutes) has ${left} s left`);
}

function resultOf({ name }: Test, seconds: number, failure: unknown): Result {
  if (failure === undefined) return { name, outcome: 'passed', seconds };
  const reason = failure instanceof Error ? (failure.stack ?? failure.message) : String(failure);
  return failure instanceof Skip
    ? { name, outcome: 'skipped', seconds, reason: failure.message }
    : { name, outcome: 'failed', seconds, reason };
}

function report({ name, outcome, seconds, reason }: Result): void {
  const mark = { passed: 'ok', failed: 'FAILED', skipped: 'skipped' }[outcome];
  console.log(
    `${mark.padEnd(7)}${name} (${seconds.toFixed(0)} s)${reason === undefined ? '' : `\n${reason}`}`,
  );
}
