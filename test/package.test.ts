import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, it } from 'vitest';

// `npm run test:xen` checks the result of the list: it packs, and installs on a dom0 without network and compiler.
describe('the package that `npm pack` makes', () => {
  const { bin, bundleDependencies, dependencies, files } = JSON.parse(readFileSync('package.json', 'utf8'));

  it('carries every dependency, the built addon, the program and the unit', () => {
    expect(bundleDependencies).toEqual(Object.keys(dependencies));
    expect(files).toEqual(expect.arrayContaining(['build/Release/vifd.node', 'dist', 'systemd']));
    expect(bin.vifd).toMatch(/^\.\/dist\//);
  });

  describe('has what its documents link to', () => {
    const packed = packedFiles();
    const documents = [...packed].filter((file) => /^([A-Z]+\.md|lab\/README\.md|docs\/.*\.md)$/.test(file));

    it.each(documents)('in %s', (document) => {
      const missing = linksOf(document).filter(([file]) => !packed.has(file) && !isFolder(packed, file));
      expect(missing).toEqual([]);
    });

    it.each(documents)('with the headings that %s links to', (document) => {
      const missing = linksOf(document).filter(
        ([file, anchor]) => anchor !== undefined && existsSync(file) && !anchorsOf(file).has(anchor),
      );
      expect(missing).toEqual([]);
    });

    it('such as the README and the design', () => {
      expect(documents).toEqual(expect.arrayContaining(['README.md', 'CHANGELOG.md', 'docs/design.md']));
      expect(linksOf('README.md')).toContainEqual(['docs/design.md', undefined]);
      expect(linksOf('docs/errors.md')).toContainEqual(['README.md', 'updating-and-going-back']);
    });
  });
});

describe('README.md', () => {
  const readme = readFileSync('README.md', 'utf8');

  it('names tests and programs that are there', () => {
    const [, named] = readme.match(/^## Status\n([\s\S]*?)^## /m) ?? [];
    const paths = [...(named ?? '').matchAll(/`((?:test|lab)\/[^`]*)`/g)].map(([, path]) => path as string);
    const scripts = [...readme.matchAll(/`npm run ([\w:]+)/g)].map(([, script]) => script);
    expect(paths.length).toBeGreaterThan(20);
    expect(paths.filter((path) => !existsSync(path))).toEqual([]);
    const known = Object.keys(JSON.parse(readFileSync('package.json', 'utf8')).scripts);
    expect(known).toEqual(expect.arrayContaining(scripts));
  });
});

/** The paths in the tarball. npm packs nothing here, and runs no script. */
function packedFiles(): ReadonlySet<string> {
  const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [{ files }] = JSON.parse(output) as [{ files: { path: string }[] }];
  return new Set(files.map(({ path }) => path).filter((path) => !path.startsWith('node_modules/')));
}

function isFolder(packed: ReadonlySet<string>, folder: string): boolean {
  return [...packed].some((file) => file.startsWith(`${folder.replace(/\/$/, '')}/`));
}

/** The links and pictures of a document that lead to files of the tree: the path from the root, and the heading if the link has one. */
function linksOf(document: string): [file: string, anchor: string | undefined][] {
  const targets = prose(document).matchAll(/\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"/g);
  return [...targets]
    .map(([, link, picture]) => link ?? picture ?? '')
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = '', anchor] = target.split('#');
      return [path === '' ? document : posix.join(posix.dirname(document), path), anchor];
    });
}

/** The anchors that GitHub makes of headings; of several equal ones the first. */
function anchorsOf(document: string): ReadonlySet<string> {
  const headings = prose(document).matchAll(/^#+ (.*)$/gm);
  return new Set(
    [...headings].map(([, text = '']) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** A document without its blocks of code, in which `#` begins no heading. */
function prose(document: string): string {
  return readFileSync(document, 'utf8').replace(/^```[\s\S]*?^```/gm, '');
}
