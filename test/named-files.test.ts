import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const root = new URL('../', import.meta.url);
/** In backticks or as the target of a link. A `*` or capitals stand for a name that a reader chooses. */
const FILE =
  /`((?:bench|demo|docs|examples|faults|frames|lab|lib|native|programs|scripts|sim|systemd|test|worlds)\/[\w./-]*)`|\]\((?!https?:|#)([^)#]+)[^)]*\)/g;

function filesIn(text: string): string[] {
  return [...text.matchAll(FILE)]
    .map(([, named, linked]) => named ?? linked!)
    .filter((file) => !/[A-Z]{4}\./.test(file));
}

describe.each(['CONTRIBUTING.md', 'SECURITY.md'])('%s', (page) => {
  const files = filesIn(readFileSync(new URL(page, root), 'utf8'));

  it('names files, and each of them exists', () => {
    expect(files.length).toBeGreaterThan(20);
    expect(files.filter((file) => !existsSync(new URL(file, root)))).toEqual([]);
  });
});

it('a file that is named in backticks or in a link is found', () => {
  const text =
    'See `lib/gone.ts`, [that](docs/gone.md#part), `lib/cli/NAME.ts`, `gone` and [this](https://example.org/).';
  expect(filesIn(text)).toEqual(['lib/gone.ts', 'docs/gone.md']);
});
