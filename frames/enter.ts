import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GUARD } from '../demo/children.js';
import { whyNoScapy } from './references/scapy.js';

/** This variable is set in the process inside the namespaces. */
const INSIDE = 'VIFD_FRAMES_INSIDE';
const PROGRAM = fileURLToPath(new URL('main.js', import.meta.url));
/** A mounted /sys shows the interfaces of the namespace in which it was mounted. Shared memory of our own vanishes with this process. */
const MOUNTS =
  'mount -t sysfs sysfs /sys && { test ! -d /dev/shm || mount -t tmpfs tmpfs /dev/shm; } && ip link set lo up && exec "$@"';
const BUILT = ['build/Release/vifd.node', 'build/Release/xensim/libxengnttab.so.1'];

export function isInside(): boolean {
  return process.env[INSIDE] === '1';
}

/** @returns what the table needs and this machine lacks, as a sentence; undefined if it lacks nothing. */
export function whatIsMissing(): string | undefined {
  if (!existsSync('/dev/net/tun'))
    return 'there is no /dev/net/tun: `modprobe tun`, or in a container `--device /dev/net/tun`';
  for (const [tool, packaged] of [
    ['ip', 'iproute2'],
    ['unshare', 'util-linux'],
    ['setpriv', 'util-linux'],
  ]) {
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
      return `\`${tool}\` is missing: \`apt-get install -y ${packaged}\``;
  }
  const unbuilt = BUILT.find((file) => !existsSync(file));
  if (unbuilt !== undefined) return `${unbuilt} is missing: \`npm run build:native\``;
  const scapy = whyNoScapy();
  if (scapy !== undefined) return scapy;
  const probe = `${MOUNTS.replace('exec "$@"', 'true')} && ip link add probe type bridge && ip tuntap add dev probe0 mode tap`;
  const [command, ...args] = unshare('sh', '-c', probe);
  const tried = spawnSync(command, args, { encoding: 'utf8' });
  if (tried.status === 0) return undefined;
  const why = tried.stderr.trim().split('\n')[0] ?? '';
  return `namespaces, bridges or taps cannot be made here (${why}): run it as root on a host, or in a container with \`--privileged\``;
}

/** A user other than root becomes root of a user namespace. */
function unshare(...command: string[]): [string, ...string[]] {
  const privileges = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  return ['unshare', '--net', '--mount', ...privileges, ...command];
}

/** Runs this program again in namespaces of its own, so that bridges and taps vanish with it. @returns its exit code. */
export function enterNamespaces(args: readonly string[]): Promise<number> {
  const [command, ...rest] = unshare('sh', '-c', MOUNTS, 'sh', ...GUARD, process.execPath, PROGRAM, ...args);
  const child = spawn(command, rest, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  const forward = () => child.kill('SIGTERM');
  process.on('SIGINT', forward).on('SIGTERM', forward);
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => done(code ?? 1));
  });
}
