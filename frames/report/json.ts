import { hexOf } from '../references/scapy.js';
import type { Result } from './table.js';

/** Writes one JSON object: every cell with its counts, and differences with their bytes. */
export function writeJson({ tally, seed, seconds }: Result): void {
  const differences = tally.differences.map(({ expected, got, ...rest }) => ({
    ...rest,
    ...(expected && { expected: hexOf(expected) }),
    ...(got && { got: hexOf(got) }),
  }));
  const result = {
    schemaVersion: 1,
    seed,
    seconds: Math.round(seconds),
    frames: tally.frames,
    differences: tally.differing,
    emptyCells: tally.empty.length,
    cells: [...tally.counts.values()],
    cases: differences,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
