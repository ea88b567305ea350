import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

// What the list comes to, `npm run test:xen` sees: it packs, and installs on a dom0 without network and compiler.
describe('the package that `npm pack` makes', () => {
  const { bin, bundleDependencies, dependencies, files } = JSON.parse(readFileSync('package.json', 'utf8'));

  it('carries every dependency, the built addon, the program and the unit', () => {
    expect(bundleDependencies).toEqual(Object.keys(dependencies));
    expect(files).toEqual(expect.arrayContaining(['build/Release/vifd.node', 'dist', 'systemd']));
    expect(bin.vifd).toMatch(/^\.\/dist\//);
  });
});
