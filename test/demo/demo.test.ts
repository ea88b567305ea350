import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Summary } from '../../demo/summary.js';
import { preflight } from '../../programs/preflight.js';

const program = fileURLToPath(new URL('../../build/demo/demo/main.js', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly lines: Record<string, unknown>[];
  readonly stderr: string;
}

function demo(...args: string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, '--json', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text) => {
      stdout += text;
    });
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      const lines = stdout.split('\n').filter((line) => line !== '');
      resolve({ code, stderr, lines: lines.map((line) => JSON.parse(line)) });
    });
  });
}

function expectClean({ code, lines, stderr }: Outcome, restarts: number): Summary {
  const summary = lines.at(-1) as unknown as Summary;
  expect(summary?.event, stderr).toBe('summary');
  const { resets, differingBytes, violations, complaints } = summary;
  expect({ resets, differingBytes, violations, complaints }).toEqual({
    resets: 0,
    differingBytes: 0,
    violations: 0,
    complaints: [],
  });
  expect(code).toBe(0);
  expect(summary.restarts.total).toBeGreaterThanOrEqual(restarts);
  expect(summary.restarts.SIGKILL).toBeGreaterThan(0);
  expect(summary.bytes).toBeGreaterThan(1e6);
  return summary;
}

const verdict = await preflight();
const namespaces = verdict.ok ? 'namespaces' : `namespaces (skipped here: ${verdict.because})`;

beforeAll(async () => {
  const { buildPrograms } = await import(`${process.cwd()}/scripts/build-programs.mjs`);
  buildPrograms('demo');
});

describe('the demo', () => {
  test.each(['copy', 'map'])('on the model, payload %s: no guest notices the restarts', async (payload) => {
    const outcome = await demo('--world', 'model', '--seconds', '4', '--payload', payload);
    expectClean(outcome, 2);
    expect(outcome.lines[0]).toMatchObject({ schemaVersion: 1, event: 'sample' });
  });

  test.skipIf(!verdict.ok)(
    `in ${namespaces}: TCP does not notice the restarts`,
    async () => {
      const summary = expectClean(await demo('--world', 'namespaces', '--seconds', '8'), 4);
      expect(summary.gapMs.longest).toBeGreaterThan(0);
    },
    90_000,
  );

  // The short form of `npm run soak -- --workers 2`.
  test.skipIf(!verdict.ok)(
    `in ${namespaces}: TCP does not notice 50 kills of workers and of their supervisor`,
    async () => {
      const summary = expectClean(await demo('--kills', '50', '--workers', '2'), 50);
      expect(summary.kills?.attachMs).toHaveLength(50);
    },
    240_000,
  );

  test('reports bad options in one line', async () => {
    const { code, stderr, lines } = await demo('--guests', '0');
    expect([code, lines]).toEqual([2, []]);
    expect(stderr).toContain('whole number from 1 to 32');
  });
});
