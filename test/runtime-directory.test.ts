import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeRuntimeDirectory } from '../lib/host/runtime-directory.js';

const SOMEONE = 12_345;
const isRoot = process.getuid?.() === 0;

describe('a runtime directory', () => {
  let base: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'vifd-runtime-'));
    chmodSync(base, 0o755);
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  /** A folder below `base` with that mode, whatever the umask is. */
  const folder = (name: string, mode: number) => {
    const path = join(base, name);
    mkdirSync(path);
    chmodSync(path, mode);
    return path;
  };
  const refusal = (directory: string): string => {
    try {
      makeRuntimeDirectory(directory);
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return `${code} ${message}`;
    }
    return 'accepted';
  };

  it('is made for its user alone', () => {
    const path = join(base, 'a/b');
    makeRuntimeDirectory(path);
    makeRuntimeDirectory(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  it.each([0o777, 0o770, 0o722, 0o1777])(
    'that others can write (mode %o) is refused with a remedy',
    (mode) => {
      const path = folder('open', mode);
      expect(refusal(path)).toBe(
        `ERR_ARGUMENT The runtime directory '${path}' can be written by others (mode ${mode.toString(8)}): ` +
          `\`chmod 700 ${path}\`, or name another by --journal.`,
      );
    },
  );

  it('that others can read is accepted: its files are not theirs to read', () => {
    expect(refusal(folder('readable', 0o755))).toBe('accepted');
  });

  it('that is sticky and open, as a tmpfs is when it is mounted, is accepted where others cannot reach it', () => {
    const path = folder('tmpfs', 0o1777);
    chmodSync(base, 0o700);
    expect(refusal(path)).toBe('accepted');
    chmodSync(path, 0o777);
    expect(refusal(path)).toContain('can be written by others (mode 777)');
  });

  it('below a folder that others can write is refused, unless that is sticky', () => {
    const parent = folder('parent', 0o777);
    const path = join(parent, 'run');
    expect(refusal(path)).toContain(
      `lies in '${parent}', which others can write (mode 777): \`chmod go-w ${parent}\``,
    );
    chmodSync(parent, 0o1777);
    expect(refusal(path)).toBe('accepted');
  });

  it.skipIf(!isRoot)('of another user is refused, and so is one below a folder of another user', () => {
    const parent = folder('theirs', 0o755);
    chownSync(parent, SOMEONE, SOMEONE);
    expect(refusal(parent)).toContain(`belongs to user ${SOMEONE}: \`chown 0 ${parent}\``);
    expect(refusal(join(parent, 'run'))).toContain(`lies in '${parent}', which belongs to user ${SOMEONE}`);
  });

  it.skipIf(!isRoot)(
    'that is reached by a link of another user is refused; one of its own is followed',
    () => {
      const target = folder('target', 0o700);
      const link = join(base, 'link');
      symlinkSync(target, link);
      expect(refusal(link)).toBe('accepted');
      lchownSync(link, SOMEONE, SOMEONE);
      expect(refusal(link)).toContain(`is reached by a link of user ${SOMEONE}, '${link}': \`rm ${link}\``);
      expect(refusal(join(link, 'run'))).toContain(`is reached by a link of user ${SOMEONE}`);
    },
  );

  it('that cannot be made is an error of its own, which is no reason not to serve', () => {
    writeFileSync(join(base, 'file'), '');
    expect(refusal(join(base, 'file/run'))).toContain('ERR_JOURNAL');
  });
});
