import { expect, it } from 'vitest';
import { fuzzHandshake } from './fuzz.js';

/** `VIFD_HANDSHAKES=20000` for more of them, `VIFD_HANDSHAKE_SEED=7` for one again. */
const SEEDS = Number(process.env.VIFD_HANDSHAKES ?? 40);
const ONLY = process.env.VIFD_HANDSHAKE_SEED;

it(
  'handshakes of random keys, values, orders and states: each has a clear end, and a good one is served after it',
  async () => {
    const { stackTraceLimit } = Error;
    if (ONLY === undefined) Error.stackTraceLimit = 0;
    const failures: string[] = [];
    const ends = new Map<string, number>();
    const seeds = ONLY === undefined ? Array.from({ length: SEEDS }, (_, i) => i + 1) : [Number(ONLY)];
    for (const seed of seeds) {
      const { failure, did, ended } = await fuzzHandshake(seed);
      ends.set(ended, (ends.get(ended) ?? 0) + 1);
      if (failure !== undefined) {
        const replay = `VIFD_HANDSHAKE_SEED=${seed} npx vitest run test/guests/fuzz.test.ts`;
        const text = `${replay}\n  ${failure}\n  ${did.join(', ')}`;
        // In one test, because many seeds take long.
        console.log(text);
        failures.push(text);
      }
    }
    Error.stackTraceLimit = stackTraceLimit;
    console.log(
      `${seeds.length} handshakes: ${[...ends].map(([end, count]) => `${count} ${end}`).join(', ')}`,
    );
    expect(failures.join('\n')).toBe('');
    // Otherwise the seeds try too little.
    if (seeds.length >= 40)
      for (const end of ['connected', 'stopped', 'waiting', 'closed'])
        expect(ends.get(end)).toBeGreaterThan(0);
  },
  60_000 + SEEDS * 4000,
);
