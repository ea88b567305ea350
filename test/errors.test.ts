import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

it('docs/errors.md has every error code, and no other', () => {
  const source = readFileSync('lib/errors.ts', 'utf8');
  const codes = [...source.matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map((match) => match[1]);
  const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^\| `(ERR_\w+)`/gm)].map(
    (match) => match[1],
  );
  expect(codes.length).toBeGreaterThan(5);
  expect(documented.sort()).toEqual(codes.sort());
});
