/** Which of the lab's tests a run has time for: a fixed core, then those that were not green for the longest. */

/** A test that was last green this many landings ago must run now. */
export const LANDINGS_MAX = 10;
/** How long the core may take, with its boots. */
export const CORE_MINUTES = 20;
/** How much longer a test may take than at its last green run (a factor), because the emulator is uneven. */
const MARGIN = 1.3;

/** A test as `main.js list` prints it. */
export interface Listed {
  readonly name: string;
  readonly boot: string;
  /** How long it takes when the emulator is slow (s). */
  readonly seconds: number;
  readonly core: boolean;
}

/** When a test was last green, and how long it took. */
export interface Green {
  readonly landing: number;
  readonly commit: string;
  readonly seconds: number;
}

/** lab/tests/last-green.json. */
export interface Greens {
  /** How many runs were recorded that chose among all tests. */
  readonly landing: number;
  readonly tests: Readonly<Record<string, Green>>;
}

export interface Choice {
  /** In the order of all tests, like the rest. */
  readonly chosen: readonly Listed[];
  /** The tests that are left to later runs, and how many landings ago each was green. */
  readonly rest: readonly { readonly test: Listed; readonly age: number }[];
  /** The time that the chosen tests are expected to take, with their boots. */
  readonly seconds: number;
}

/** Seconds that a test is expected to take. */
export function expectedSeconds({ name, seconds }: Listed, greens: Greens): number {
  const green = greens.tests[name];
  return green === undefined ? seconds : Math.min(seconds, Math.ceil(green.seconds * MARGIN));
}

/** How many landings ago a test was green; a test that was never green is as old as the record, and older than all others. */
export function ageOf({ name }: Pick<Listed, 'name'>, greens: Greens): number {
  return greens.landing - (greens.tests[name]?.landing ?? -1);
}

/**
 * Chooses the tests of one run. It always contains the core, and the tests that would be LANDINGS_MAX landings old at the next run, in any
 * case; then the oldest ones, as long as they fit. Each boot counts once.
 */
export function chooseTests(parts: {
  readonly tests: readonly Listed[];
  readonly greens: Greens;
  readonly minutes: number;
  readonly bootSeconds: number;
}): Choice {
  const { tests, greens, minutes, bootSeconds } = parts;
  const chosen = new Set<Listed>();
  const boots = new Set<string>();
  let seconds = 0;
  const cost = (test: Listed) => expectedSeconds(test, greens) + (boots.has(test.boot) ? 0 : bootSeconds);
  const take = (test: Listed): void => {
    seconds += cost(test);
    boots.add(test.boot);
    chosen.add(test);
  };
  for (const test of tests) if (test.core) take(test);
  // Stable: tests of the same age stay in order.
  const others = tests.filter(({ core }) => !core).sort((a, b) => ageOf(b, greens) - ageOf(a, greens));
  for (const test of others) {
    const isDue = ageOf(test, greens) >= LANDINGS_MAX - 1;
    if (isDue || seconds + cost(test) <= minutes * 60) take(test);
  }
  return {
    chosen: tests.filter((test) => chosen.has(test)),
    rest: tests.filter((test) => !chosen.has(test)).map((test) => ({ test, age: ageOf(test, greens) })),
    seconds,
  };
}

/** Returns the records after a run: passed tests are green now. Tests that no longer exist are removed. */
export function recordGreens(parts: {
  readonly greens: Greens;
  /** All existing tests. */
  readonly tests: readonly Listed[];
  readonly commit: string;
  /** Whether the run chose among all tests: tests that it did not run are then one landing older. */
  readonly isLanding: boolean;
  readonly results: readonly { readonly name: string; readonly outcome: string; readonly seconds?: number }[];
}): Greens {
  const { greens, tests, commit, isLanding, results } = parts;
  const landing = greens.landing + (isLanding ? 1 : 0);
  const recorded: Record<string, Green> = {};
  for (const { name } of tests) {
    const passed = results.find((result) => result.name === name && result.outcome === 'passed');
    const green =
      passed === undefined
        ? greens.tests[name]
        : { landing, commit, seconds: Math.round(passed.seconds ?? 0) };
    if (green !== undefined) recorded[name] = green;
  }
  return { landing, tests: recorded };
}
