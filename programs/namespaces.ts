import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GUARD } from '../worlds/processes/children.js';

/**
 * For sh, in front of a command in new namespaces. A mounted /sys shows the interfaces of the namespace in which it was mounted. Shared
 * memory of the program's own vanishes with the program.
 */
export const OWN_MOUNTS =
  'mount -t sysfs sysfs /sys && { test ! -d /dev/shm || mount -t tmpfs tmpfs /dev/shm; } && ip link set lo up && exec "$@"';

/** Options of unshare(1): a user other than root becomes root of a user namespace. */
export function unshareOptions(): string[] {
  const privileges = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  return ['--net', '--mount', ...privileges];
}

/** In all processes of a program in namespaces: which process has started the program. */
const STARTED_BY = 'VIFD_NAMESPACES_STARTED_BY';
/** How long processes may take to end that are killed. */
const LEFT_MS = 5000;

/** @returns the variable that is set in a program's process inside its namespaces. */
function insideVariable(name: string): string {
  return `VIFD_${name.toUpperCase()}_INSIDE`;
}

/** @returns whether this process is the one that `enterNamespaces` started for the program of this name. */
export function isInside(name: string): boolean {
  return process.env[insideVariable(name)] === '1';
}

export interface NamespacesPlan {
  /** The program's name: distinguishes its variable from that of a program that it starts. */
  readonly name: string;
  /** `import.meta.url` of the file to run. */
  readonly url: string;
  readonly args: readonly string[];
  /** Options of unshare(1). Default: `unshareOptions()`. */
  readonly unshare?: readonly string[];
  /** Text for sh that ends with `exec "$@"`, such as `OWN_MOUNTS`. Default: none. */
  readonly setUp?: string;
}

/**
 * Runs a program again in network and mount namespaces of its own, with which its bridges, taps and mounts vanish in any case. However it
 * ends, all its processes end with it.
 * @returns its exit code.
 */
export async function enterNamespaces(plan: NamespacesPlan): Promise<number> {
  const { name, url, args, unshare = unshareOptions(), setUp } = plan;
  const shell = setUp === undefined ? [] : ['sh', '-c', setUp, 'sh'];
  const command = [...unshare, ...shell, ...GUARD, process.execPath, fileURLToPath(url), ...args];
  // Root finds ip(8) and similar tools here; the PATH of other users often lacks these folders.
  const path = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`;
  const mark = `${process.pid}-${Date.now()}`;
  const env = { ...process.env, [insideVariable(name)]: '1', [STARTED_BY]: mark, PATH: path };
  const child = spawn('unshare', command, { stdio: 'inherit', env });
  // A terminal's Ctrl-C reaches the child by itself, a signal to this process alone does not. A second signal does no harm.
  const forward = () => child.kill('SIGTERM');
  process.on('SIGINT', forward).on('SIGTERM', forward);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => reject(new Error(`unshare cannot be started: ${error.message}`)));
      child.once('exit', (code) => resolve(code ?? 1));
    });
  } finally {
    await endLeft(mark);
    process.off('SIGINT', forward).off('SIGTERM', forward);
  }
}

/**
 * Kills what a program has left. A program that a signal has ended takes its children along, and not their children: workers of vifd outlive
 * their supervisor.
 */
async function endLeft(mark: string): Promise<void> {
  const deadlineMs = Date.now() + LEFT_MS;
  for (let left = processesOf(mark); left.length > 0; left = processesOf(mark)) {
    if (Date.now() > deadlineMs)
      throw new Error(`processes are left that cannot be killed: ${left.join(', ')}: see \`dmesg\``);
    for (const pid of left) killed(pid);
    await sleep(10);
  }
}

function processesOf(mark: string): number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => environmentOf(pid).includes(`${STARTED_BY}=${mark}`));
}

/** @returns nothing for a process that is gone, for a zombie, and for one of another user. */
function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

function killed(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // It has ended since it was found.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Tools that a program in namespaces needs, and Debian's package of each. */
const TOOLS: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  unshare: 'util-linux',
  setpriv: 'util-linux',
  prlimit: 'util-linux',
  ping: 'iputils-ping',
};

/**
 * @param tools that the program needs besides `ip`, `unshare` and `setpriv`.
 * @returns the first that this machine lacks of them and of /dev/net/tun, as a sentence; undefined if it lacks nothing.
 */
export function missingTool(...tools: readonly string[]): string | undefined {
  if (!existsSync('/dev/net/tun'))
    return 'there is no /dev/net/tun: `modprobe tun`, or in a container `--device /dev/net/tun`';
  const missing = ['ip', 'unshare', 'setpriv', ...tools].find(
    (tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0,
  );
  return missing && `\`${missing}\` is missing: \`apt-get install -y ${TOOLS[missing] ?? missing}\``;
}

/**
 * Tries namespaces with `OWN_MOUNTS`, a bridge and a tap.
 * @param more commands for sh to try besides.
 * @returns what cannot be made and what to do, as a sentence; undefined if all can.
 */
export function refusedNamespaces(remedy: string, ...more: readonly string[]): string | undefined {
  const tries = ['ip link add probe type bridge', 'ip tuntap add dev probe0 mode tap', ...more];
  const probe = [OWN_MOUNTS.replace('exec "$@"', 'true'), ...tries].join(' && ');
  const tried = spawnSync('unshare', [...unshareOptions(), 'sh', '-c', probe], { encoding: 'utf8' });
  if (tried.status === 0) return undefined;
  const why = tried.stderr.trim().split('\n')[0] ?? '';
  return `namespaces, mounts, bridges or taps cannot be made here (${why}): ${remedy}, or in a container with \`--privileged\``;
}
