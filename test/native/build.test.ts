import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

describe('what cmake remembers of an earlier build', () => {
  let checkout: string;
  let folder: string;

  let forgetOtherCheckout: (folder: string, source: string) => void;

  beforeAll(async () => {
    ({ forgetOtherCheckout } = await import(`${process.cwd()}/scripts/build-native.mjs`));
    checkout = mkdtempSync(join(tmpdir(), 'vifd-build-'));
    folder = join(checkout, 'build/cmake');
    mkdirSync(folder, { recursive: true });
  });

  afterAll(() => rmSync(checkout, { recursive: true }));

  function remember(source: string): void {
    writeFileSync(
      join(folder, 'CMakeCache.txt'),
      `CMAKE_COMMAND:INTERNAL=cmake\nCMAKE_HOME_DIRECTORY:INTERNAL=${source}\n`,
    );
  }

  it('is kept when it is of this checkout', () => {
    remember(checkout);
    forgetOtherCheckout(folder, `${checkout}/`);
    expect(existsSync(folder)).toBe(true);
  });

  it('is forgotten when the checkout was copied from another', () => {
    remember('/somewhere/else');
    forgetOtherCheckout(folder, checkout);
    expect(existsSync(folder)).toBe(false);
  });

  it('is not missed when nothing was built', () => {
    expect(() => forgetOtherCheckout(join(checkout, 'nothing'), checkout)).not.toThrow();
  });
});
