import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';

const BUILT = 'dist/host/v8-flags.js';
const missing = !existsSync(BUILT);
const PARTS = 12;

/**
 * `whole` calls each `partN`, a function of about 150 bytes of bytecode, until V8 has compiled it. V8's own limit admits about half of them.
 */
const program = (statement: string) => `
import { inlineMore, withDefaultFlags } from ${JSON.stringify(pathToFileURL(resolve(BUILT)).href)};
${statement}
const names = Array.from({ length: ${PARTS} }, (_, at) => 'part' + at);
const parts = names.map((name) => 'function ' + name + '(words) {' + 'words[2] = words[1];'.repeat(${PARTS}) + '}');
const calls = names.map((name) => name + '(words);');
const whole = new Function(parts.join('') + 'return function whole(words) {' + calls.join('') + '}')();
const words = new Uint32Array(64);
const endMs = performance.now() + 500;
while (performance.now() < endMs) for (let i = 0; i < 1000; i++) whole(words);
`;

/** @returns how many parts V8 has inlined at most in one compilation: into `whole`, or into what `whole` itself was inlined into. */
function inlined(statement: string): number {
  const args = [
    '--trace-turbo-inlining',
    '--no-concurrent-recompilation',
    '--input-type=module',
    '--eval',
    program(statement),
  ];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const parts = new Map<string, Set<string>>();
  const lines = stdout.matchAll(/^Inlining .*SharedFunctionInfo (part\d+)>.* into (0x[0-9a-f]+)/gm);
  for (const [, part, into] of lines) parts.set(into, (parts.get(into) ?? new Set()).add(part));
  return Math.max(0, ...[...parts.values()].map((found) => found.size));
}

describe.skipIf(missing)(`V8's limit of inlining${missing ? ` (skipped: no ${BUILT})` : ''}`, () => {
  it('admits a larger function once it is raised, without a complaint of V8', () => {
    const before = inlined('');
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(PARTS);
    expect(inlined('inlineMore();')).toBe(PARTS);
  });

  it('is larger again behind `withDefaultFlags`', () => {
    expect(inlined('inlineMore(); withDefaultFlags(() => 0);')).toBe(PARTS);
  });
});

/** @returns how many bytes V8's space of new objects has after 30 MB of objects that stay. */
function newSpaceBytes(statement: string): number {
  const program = `
    import { stopNewSpaceGrowth, withDefaultFlags } from ${JSON.stringify(pathToFileURL(resolve(BUILT)).href)};
    import { getHeapSpaceStatistics } from 'node:v8';
    ${statement}
    const kept = Array.from({ length: 1_000_000 }, (_, at) => ({ at }));
    const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space');
    console.log(kept.length && space.space_size);`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return Number(stdout);
}

describe.skipIf(missing)("V8's space of new objects", () => {
  it('stays small once its growth is stopped, also behind `withDefaultFlags`', () => {
    expect(newSpaceBytes('')).toBeGreaterThan(8 << 20);
    expect(newSpaceBytes('stopNewSpaceGrowth();')).toBeLessThan(3 << 20);
    expect(newSpaceBytes('stopNewSpaceGrowth(); withDefaultFlags(() => 0);')).toBeLessThan(3 << 20);
  });
});
