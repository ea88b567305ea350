import type { PayloadMode } from '../../lib/netback/types.js';
import type { Store } from '../../lib/xen/types.js';
import { Guest } from './guest.js';
import { Vifd } from './vifd.js';

/** `alone`: xen-netback is not in dom0. `beside`: it is. `systemd`: absent, and dom0 runs systemd. Each is one boot. */
export type Boot = 'alone' | 'beside' | 'systemd';

export interface Test {
  readonly name: string;
  readonly boot: Boot;
  /** How vifd is to move payload. Guests live on through a change. */
  readonly payload?: PayloadMode;
  run(dom0: Dom0): Promise<void>;
}

/** Tests once by copy and then all by map: each change is one more life of vifd. */
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

/** What tests share: a store, one vifd, and guests that live on from test to test, since starting one takes long. */
export class Dom0 {
  readonly store: Store;
  /** Tests that draw instants draw many. */
  readonly long: boolean;
  vifd = new Vifd();

  constructor(store: Store, long = false) {
    this.store = store;
    this.long = long;
  }

  async setPayload(payload: PayloadMode): Promise<void> {
    if (this.vifd.payload === payload) return;
    this.vifd.payload = payload;
    if (!this.vifd.running) return;
    await this.vifd.stop('SIGTERM');
    await this.vifd.start();
  }

  /** A guest that vifd serves. */
  async guest(name = 'g1'): Promise<Guest> {
    if (!this.vifd.running) await this.vifd.start();
    return Guest.running(name);
  }

  /** Says something that belongs into the output of a passed test as well. */
  note(text: string): void {
    console.log(`       ${text}`);
  }
}

/** @param onResults gets all results so far after each test: the machine may not live to the end. */
export async function runTests(
  tests: readonly Test[],
  dom0: Dom0,
  onResults: (results: readonly Result[]) => void,
): Promise<void> {
  const results: Result[] = [];
  for (const test of tests) {
    const began = performance.now();
    let failure: unknown;
    try {
      await dom0.setPayload(test.payload ?? 'copy');
      await test.run(dom0);
    } catch (error) {
      failure = error ?? new Error('an empty error');
    }
    const seconds = (performance.now() - began) / 1000;
    const result = resultOf(test, seconds, failure);
    results.push(result);
    onResults(results);
    report(result);
    if (failure !== undefined)
      console.log(
        dom0.vifd.events
          .slice(-20)
          .map((event) => JSON.stringify(event))
          .join('\n'),
      );
  }
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
