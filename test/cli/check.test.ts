import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asText, isReady, runChecks } from '../../lib/cli/check.js';
import { kernelDriverCheck } from '../../lib/cli/checks/driver.js';
import { driverDomainChecks } from '../../lib/cli/checks/driver-domain.js';
import { bridgesCheck, hotplugCheck, rightsCheck } from '../../lib/cli/checks/network.js';
import { runtimeCheck } from '../../lib/cli/checks/runtime.js';
import { deviceCheck, hypervisorCheck, libraryChecks } from '../../lib/cli/checks/xen.js';
import { workersCheck } from '../../lib/cli/workers-check.js';

let root: string;
const put = (path: string, text = '') => {
  mkdirSync(dirname(root + path), { recursive: true });
  writeFileSync(root + path, text);
};
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vifd-root-'));
});
afterEach(() => rmSync(root, { recursive: true }));

describe('vifd check: workers', () => {
  it('have no line where there are none, or where only a dead one has left its socket', () => {
    expect(workersCheck(root, '/run/vifd')).toEqual([]);
    put('/run/vifd/worker-7');
    expect(workersCheck(root, '/run/vifd')).toEqual([]);
  });

  it('that serve without a supervisor are reported, with the remedy', () => {
    put('/run/vifd/worker-7');
    put('/run/vifd/worker-8');
    put('/run/vifd/worker-9');
    for (const pid of [7, 9]) put(`/proc/${pid}/status`);
    expect(workersCheck(root, '/run/vifd')).toEqual([
      {
        ...{ name: 'workers', state: 'warn', found: '2 processes without a vifd run: 7, 9' },
        remedy: expect.stringContaining('vifd run --workers'),
      },
    ]);
  });

  it('cannot be looked for in what is no directory', () => {
    put('/run/vifd');
    expect(workersCheck(root, '/run/vifd')).toMatchObject([
      { state: 'warn', found: expect.stringContaining('ENOTDIR') },
    ]);
  });
});

describe('vifd check: the hypervisor', () => {
  it('is missing on a kernel that runs on none', () => {
    expect(hypervisorCheck(root)).toMatchObject({
      state: 'missing',
      remedy: expect.stringMatching(/xen-system/),
    });
  });

  it('distinguishes dom0 from another domain by its UUID', () => {
    put('/sys/hypervisor/type', 'xen\n');
    put('/sys/hypervisor/version/major', '4\n');
    put('/sys/hypervisor/version/minor', '17\n');
    put('/sys/hypervisor/uuid', '00000000-0000-0000-0000-000000000000\n');
    expect(hypervisorCheck(root)).toMatchObject({ state: 'ok', found: 'Xen 4.17; this is dom0' });
    put('/sys/hypervisor/uuid', '4f3a0000-0000-0000-0000-000000000001\n');
    expect(hypervisorCheck(root)).toMatchObject({
      state: 'ok',
      found: 'Xen 4.17; this is a domain other than dom0',
    });
  });
});

describe('vifd check: the addon and the libraries', () => {
  const states = (...args: Parameters<typeof libraryChecks>) =>
    libraryChecks(...args).checks.map(({ name, state }) => `${name} ${state}`);

  it('stops at an addon that was not built', () => {
    const problem = { missing: 'native addon', found: 'it is not built', remedy: 'build it' } as const;
    expect(states(problem)).toEqual(['native addon missing']);
  });

  it('distinguishes a missing library from a missing addon', () => {
    const problem = { missing: 'Xen libraries', found: 'no libxengnttab', remedy: 'install it' } as const;
    expect(states(problem)).toEqual(['native addon ok', 'Xen libraries missing']);
  });

  it('reports that grant copy is missing', () => {
    const found = { directory: '/opt/xen', grantCopy: false, simulated: false };
    expect(libraryChecks(found).checks[1]?.found).toMatch(/\/opt\/xen, without grant copy/);
  });
});

describe('vifd check: device nodes', () => {
  const check = () => deviceCheck(root, '/dev/xen/gntdev', 'xen-gntdev');

  it('are opened, and not only looked for', () => {
    put('/dev/xen/gntdev');
    expect(check()).toEqual({ name: '/dev/xen/gntdev', state: 'ok', found: 'opens' });
    rmSync(`${root}/dev/xen/gntdev`);
    mkdirSync(`${root}/dev/xen/gntdev`);
    expect(check()).toMatchObject({ state: 'missing', found: 'cannot be opened (EISDIR)' });
  });

  it('name their module when they are missing', () => {
    expect(check()).toEqual({
      name: '/dev/xen/gntdev',
      state: 'missing',
      found: 'cannot be opened (ENOENT)',
      remedy: '`modprobe xen-gntdev`',
    });
  });
});

describe('vifd check: rights', () => {
  it('are CAP_NET_ADMIN and CAP_BPF, bits 12 and 39 of the effective set; without the latter queues are short', () => {
    expect(rightsCheck(root)).toMatchObject({ state: 'missing', remedy: 'run as root' });
    put('/proc/self/status', 'CapPrm:\t000001ffffffffff\nCapEff:\t0000008000001000\n');
    expect(rightsCheck(root)).toMatchObject({ state: 'ok' });
    put('/proc/self/status', 'CapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n');
    expect(rightsCheck(root)).toMatchObject({ state: 'warn', found: expect.stringContaining('no CAP_BPF') });
    put('/proc/self/status', 'CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffefff\n');
    expect(rightsCheck(root)).toMatchObject({ state: 'missing' });
  });
});

describe("vifd check: the kernel's driver", () => {
  const loaded = (autoprobe: string, ...vifs: string[]) => {
    put('/sys/bus/xen-backend/drivers_autoprobe', autoprobe);
    put('/sys/bus/xen-backend/drivers/vif/unbind');
    for (const vif of vifs) mkdirSync(`${root}/sys/bus/xen-backend/drivers/vif/${vif}`);
  };

  it('is in the way while it takes each new vif', () => {
    loaded('1\n');
    expect(kernelDriverCheck(root)).toMatchObject({
      state: 'warn',
      found: expect.stringMatching(/serves none/),
      remedy: expect.stringMatching(/rmmod xen-netback.*drivers_autoprobe/),
    });
  });

  it('is named with the vifs that it serves', () => {
    loaded('1\n', 'vif-1-0', 'vif-12-1');
    const { state, found, remedy } = kernelDriverCheck(root);
    expect({ state, found }).toEqual({
      state: 'warn',
      found: 'xen-netback is loaded, serves vif1.0, vif12.1, and takes each new vif',
    });
    expect(remedy).not.toMatch(/rmmod/);
  });

  it('is not in the way when it takes none by itself', () => {
    loaded('0\n', 'vif-1-0');
    expect(kernelDriverCheck(root)).toMatchObject({ state: 'ok', found: expect.stringMatching(/vif1\.0/) });
  });

  it('is in the way before it is loaded where udev would load it, unless it is on a blacklist', () => {
    expect(kernelDriverCheck(root)).toMatchObject({ state: 'ok' });
    put('/run/udev/control');
    expect(kernelDriverCheck(root)).toMatchObject({
      state: 'warn',
      remedy: expect.stringMatching(/blacklist/),
    });
    put('/etc/modprobe.d/other.conf', '# blacklist xen-netback\n');
    put('/etc/modprobe.d/vifd.conf.off', 'blacklist xen-netback\n');
    expect(kernelDriverCheck(root)).toMatchObject({ state: 'warn' });
    put('/etc/modprobe.d/vifd.conf', 'blacklist xen-netback\n');
    expect(kernelDriverCheck(root)).toMatchObject({ state: 'ok' });
  });
});

describe('vifd check: the runtime directory', () => {
  it('may be missing where it can be made, and should be on a tmpfs', () => {
    const shm = mkdtempSync('/dev/shm/vifd-check-');
    expect(runtimeCheck('', `${shm}/vifd`)).toEqual({
      name: 'runtime directory',
      state: 'ok',
      found: `${shm}/vifd, not made yet`,
    });
    rmSync(shm, { recursive: true });
    expect(runtimeCheck('', '/proc')).toMatchObject({
      state: 'warn',
      remedy: expect.stringMatching(/--journal/),
    });
  });

  it('is missing where a file stands in its place', () => {
    put('/run/vifd');
    expect(runtimeCheck(root, '/run/vifd')).toMatchObject({
      state: 'missing',
      found: '/run/vifd cannot be written (ENOTDIR)',
      remedy: expect.stringMatching(/--journal/),
    });
  });
});

describe('vifd check: the hotplug script', () => {
  it('must be there and executable, for libxl', () => {
    expect(hotplugCheck(root)).toMatchObject({
      state: 'warn',
      remedy: expect.stringMatching(/xen-utils-common/),
    });
    put('/etc/xen/scripts/vif-bridge');
    expect(hotplugCheck(root)).toMatchObject({ state: 'warn' });
    chmodSync(`${root}/etc/xen/scripts/vif-bridge`, 0o755);
    expect(hotplugCheck(root)).toMatchObject({ state: 'ok' });
  });
});

describe('vifd check: a driver domain', () => {
  const found = async (nodes: Record<string, string> = {}) => {
    const store = { read: async (path: string) => nodes[path] };
    return (await driverDomainChecks(root, store, 3)).map(({ name, state }) => `${name} ${state}`);
  };
  const runs = (pid: string, ...words: string[]) =>
    put(`/proc/${pid}/cmdline`, words.map((word) => `${word}\0`).join(''));

  it('should have been made as one: libxl gives it a node for what it runs', async () => {
    expect(await found()).toContain('driver domain warn');
    expect(await found({ '/local/domain/3/libxl': '' })).toContain('driver domain ok');
  });

  it('needs `xl devd`, which runs the scripts and deletes the nodes of vifs that have gone', async () => {
    runs('1', '/lib/systemd/systemd');
    runs('17', 'vim', 'devd');
    runs('18', 'xl', 'list');
    runs('self', 'xl', 'devd');
    expect(await found()).toContain('xl devd warn');
    runs('19', '/usr/lib/xen-4.17/bin/xl', 'devd', '-F');
    expect(await found()).toContain('xl devd ok');
  });
});

describe('vifd check: bridges', () => {
  const link = (...paths: string[]) => {
    for (const path of paths) mkdirSync(`${root}/sys/class/net/${path}`, { recursive: true });
  };

  it('should be there', () => {
    link('eth0');
    expect(bridgesCheck(root)).toMatchObject({ state: 'warn', found: 'there is none' });
  });

  it('should have a port that is no vif: else their carrier goes with vifd', () => {
    link(
      'xenbr0/bridge',
      'xenbr0/brif/vif1.0',
      'xenbr0/brif/vif2.0-emu',
      'xenbr1/bridge',
      'xenbr1/brif/eth0',
    );
    expect(bridgesCheck(root)).toMatchObject({
      state: 'warn',
      found: expect.stringMatching(/^xenbr0: no port but vifs/),
      remedy: expect.stringMatching(/type dummy && ip link set xenbr0-up master xenbr0 up/),
    });
    link('xenbr0/brif/uplink');
    expect(bridgesCheck(root)).toMatchObject({ state: 'ok', found: 'xenbr0, xenbr1' });
  });
});

describe('vifd check', () => {
  it('looks at everything, and prints columns that line up with each remedy below', async () => {
    const checks = await runChecks({
      root,
      store: `${root}/store`,
      journal: '/run/vifd',
      libraries: '/nowhere',
    });
    expect(isReady(checks)).toBe(false);
    for (const { state, remedy } of checks) expect(remedy === undefined).toBe(state === 'ok');
    const lines = asText(checks).split('\n');
    const at = lines[0]?.indexOf('FOUND') ?? -1;
    for (const line of lines.slice(0, -3)) expect(line.slice(at - 2, at)).toBe('  ');
    expect(lines.filter((line) => line.startsWith('missing')).length).toBeGreaterThan(3);
    expect(lines.at(-2)).toMatch(/^vifd cannot run here: missing .*hypervisor/);
  });

  it('can run with warnings', () => {
    const checks = [
      { name: 'a', state: 'ok', found: 'yes' },
      { name: 'b', state: 'warn', found: 'hm', remedy: 'c' },
    ] as const;
    expect(isReady(checks)).toBe(true);
    expect(asText(checks)).toMatch(/vifd can run here\.\n$/);
  });

  it.skipIf(!existsSync('dist/vifd.cjs'))(
    'ends with 3 where something is missing; --json reports the same',
    () => {
      const args = [
        'dist/vifd.cjs',
        'check',
        '--json',
        '--libraries',
        '/nowhere',
        '--store',
        `${root}/store`,
      ];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      expect({ status, stderr }).toEqual({ status: 3, stderr: '' });
      const { schemaVersion, ready, checks } = JSON.parse(stdout);
      expect({ schemaVersion, ready }).toEqual({ schemaVersion: 1, ready: false });
      expect(checks).toContainEqual({
        name: 'xenstore',
        state: 'missing',
        found: expect.stringContaining(`${root}/store`),
        remedy: expect.any(String),
      });
    },
  );
});
