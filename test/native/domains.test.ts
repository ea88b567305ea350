import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon, errnoName, type XenLibraries } from '../../lib/addon.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const build = process.env.VIFD_ADDON
  ? dirname(resolve(process.env.VIFD_ADDON))
  : join(root, 'build', 'Release');
const xensim = join(build, 'xensim');
const ready = existsSync(join(xensim, 'libxenctrl.so.1')) && existsSync('/usr/bin/cc');

/** A libxenctrl whose hypervisor has domains 0, 5 and 7, of which 5 is dying. */
const SOURCE = `
#include <errno.h>
#include <stdint.h>
#include <string.h>
struct info { uint16_t domain, pad1; uint32_t flags; char rest[FILL]; };
void *xc_interface_open(void *a, void *b, unsigned flags) { errno = OPEN; return OPEN ? 0 : (void *)1; }
int xc_interface_close(void *xch) { return 0; }
int xc_domain_getinfolist(void *xch, uint32_t first, unsigned most, struct info *info) {
  if (LIST) { errno = LIST; return -1; }
  if (first > 7) return 0;
  memset(info, 0xff, sizeof *info);
  info->domain = first == 0 ? 0 : first <= 5 ? 5 : 7;
  info->flags = info->domain == 5;
  return 1;
}
`;

describe.skipIf(!ready)('domains by libxenctrl', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-domains-'));
    for (const name of ['libxengnttab.so.1', 'libxenevtchn.so.1'])
      symlinkSync(join(xensim, name), join(directory, name));
    writeFileSync(join(directory, 'ctrl.c'), SOURCE);
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  function library(version: string, { open = '0', list = '0', fill = 120 } = {}): void {
    const defines = [`-DOPEN=${open}`, `-DLIST=${list}`, `-DFILL=${fill}`];
    const out = join(directory, `libxenctrl.so.${version}`);
    execFileSync('cc', ['-shared', '-fPIC', ...defines, '-o', out, join(directory, 'ctrl.c')]);
  }

  function exists(...domids: number[]): (number | string)[] {
    const libraries = addon().loadXen(directory) as XenLibraries;
    return domids.map((domid) => {
      const answer = libraries.domainExists(domid);
      return answer < 0 ? errnoName(answer) : answer;
    });
  }

  it('takes a domain that is dying, or is not there, for gone', () => {
    library('4.17');
    expect(exists(0, 3, 5, 6, 7, 8)).toEqual([1, 0, 0, 0, 1, 0]);
  });

  it('has room for more than any version writes', () => {
    library('4.17', { fill: 2048 });
    expect(exists(7)).toEqual([1]);
  });

  it('takes the newest library that the running Xen understands', () => {
    library('4.9');
    library('4.20', { list: 'EACCES' });
    library('4.17');
    expect(exists(7, 8)).toEqual([1, 0]);
  });

  it('does not know without the library, the device or the permission', () => {
    expect(exists(7)).toEqual(['ENOENT']);
    library('4.17', { open: 'ENOENT' });
    expect(exists(7)).toEqual(['ENOENT']);
    library('4.18', { list: 'EPERM' });
    rmSync(join(directory, 'libxenctrl.so.4.17'));
    expect(exists(7)).toEqual(['EPERM']);
    writeFileSync(join(directory, 'libxenctrl.so.4.5'), 'no library');
    expect(exists(7)).toEqual(['EPERM']);
  });

  it('looks again when the library came later', () => {
    const libraries = addon().loadXen(directory) as XenLibraries;
    expect(errnoName(libraries.domainExists(7))).toBe('ENOENT');
    library('4.17');
    expect(libraries.domainExists(7)).toBe(1);
  });
});
