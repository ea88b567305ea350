import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { sectionsOf } from './doc-examples.js';
import { type PublicNames, publicNames } from './public-names.js';

/** The modules of the package, by the names under which programs import them. */
const MODULES = {
  vifd: 'dist/index.d.ts',
  'vifd/model': 'dist/testing/model/index.d.ts',
  'vifd/netfront': 'dist/testing/netfront/index.d.ts',
};
const built = Object.values(MODULES).every((file) => existsSync(file));

// Built by `npm run build`; `npm test` builds first.
describe.skipIf(!built).each(Object.entries(MODULES))('%s', (module, file) => {
  const sections = sectionsOf('docs/api.md', module);
  const found: PublicNames = built
    ? publicNames(file, Object.values(MODULES))
    : { names: {}, leaks: [], undocumented: [] };

  it('has a doc comment for each name and each member', () => {
    expect(found.undocumented).toEqual([]);
  });

  it('has a section of docs/api.md for each class and function', () => {
    const names = Object.keys(found.names).flatMap(
      (name) => name.match(/^(?:class|function) (\w+)/)?.[1] ?? [],
    );
    expect(names.filter((name) => !sections.has(name))).toEqual([]);
  });

  it('has each other name somewhere on that page', () => {
    const page = [...sections.values()].join('');
    const names = Object.keys(found.names).map((name) => name.split(' ')[1] ?? '');
    const inCode = (name: string) => new RegExp(`\`[^\`\n]*\\b${name}\\b`).test(page);
    expect(names.filter((name) => !sections.has(name) && !inCode(name))).toEqual([]);
  });

  it('has each member of a class or interface in the section of that', () => {
    const missing = Object.entries(found.names).flatMap(([declaration, members]) => {
      const section = sections.get(declaration.split(' ')[1] ?? '');
      if (section === undefined) return [];
      const shown = members.map((member) => member.replace('static ', ''));
      const isNamed = (member: string) =>
        member.startsWith('[') || new RegExp(`\`[^\`\n]*\\b${member}\\b`).test(section);
      return shown.filter((member) => !isNamed(member)).map((member) => `${declaration}: ${member}`);
    });
    expect(missing).toEqual([]);
  });

  it('exports each type of its declarations, or another module of vifd does', () => {
    expect(found.leaks).toEqual([]);
  });
});
