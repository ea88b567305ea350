import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { links } from '../../worlds/processes/bridge.js';
import type { StoreState } from './store-messages.js';

/** The resources of a vifd at one moment. Each list is sorted, and has one entry for each resource. */
export interface Holdings {
  readonly descriptors: readonly string[];
  /** Mappings of files and devices, by file. */
  readonly mappings: readonly string[];
  /** KiB of anonymous memory that is mapped writably. */
  readonly anonymousKiB: number;
  readonly files: readonly string[];
  readonly links: readonly string[];
  readonly nodes: readonly string[];
  readonly watches: readonly string[];
}

/** KiB. V8 maps and unmaps memory for its heap at any time; a greater growth over a fault does not come from the heap. */
const ANONYMOUS_SLACK_KIB = 24 * 1024;

/** @param pids of vifd: its process, and its workers. */
export async function holdings(
  pids: readonly number[],
  runtimeDirectory: string,
  store: StoreState,
): Promise<Holdings> {
  const maps = pids.flatMap((pid) => readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n'));
  return {
    descriptors: pids.flatMap(descriptorsOf).sort(),
    mappings: maps.flatMap(mappedFile).sort(),
    anonymousKiB: maps.reduce((sum, line) => sum + anonymousKiB(line), 0),
    // The socket of each worker has the name of the process.
    files: filesBelow(runtimeDirectory).map((name) => name.replace(/\bworker-\d+$/, 'worker-N')),
    links: (await links()).map(({ name, master, up }) => [name, master ?? '', up ? 'up' : 'down'].join(' ')),
    nodes: store.nodes.map(({ path }) => path).sort(),
    watches: Array.from({ length: store.watches }, () => 'watch of domain 0'),
  };
}

/** @returns the resources that only one of `after` and `before` has, in words; empty if both are the same. */
export function difference(before: Holdings, after: Holdings): string[] {
  const lists = ['descriptors', 'mappings', 'files', 'links', 'nodes', 'watches'] as const;
  const changed = lists.flatMap((list) => changes(before[list], after[list]).map((one) => `${list}: ${one}`));
  const grown = after.anonymousKiB - before.anonymousKiB;
  return grown > ANONYMOUS_SLACK_KIB ? [...changed, `memory: +${grown} KiB`] : changed;
}

function changes(before: readonly string[], after: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const one of after) counts.set(one, (counts.get(one) ?? 0) + 1);
  for (const one of before) counts.set(one, (counts.get(one) ?? 0) - 1);
  return [...counts]
    .filter(([, count]) => count !== 0)
    .map(([one, count]) => `${count > 0 ? '+' : ''}${count} ${one}`);
}

function descriptorsOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  const targets = readdirSync(folder).flatMap((fd) => {
    try {
      const target = readlinkSync(`${folder}/${fd}`);
      // xensim opens the files of other handles as it needs them: mappings show which vifd has itself.
      if (/\/session-\d+$/.test(target)) return [];
      // Numbers of sockets and pipes differ each time. libuv has a spare descriptor, of /dev/null or /.
      const name = target.replace(/\d+(?=\])/, 'N');
      return [name === '/' ? '/dev/null' : name];
    } catch {
      return [];
    }
  });
  return targets.sort();
}

const LINE = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)$/;

function mappedFile(line: string): string[] {
  const [, , , rights, inode, path = ''] = LINE.exec(line) ?? [];
  if (inode === '0' || inode === undefined || path === '') return [];
  // Code and data of libraries are no leak; shared memory may be one.
  if (/\.(so[.\d]*|node|bundle)$|\/bin\/|locale/.test(path) || !rights?.includes('s')) return [];
  return [path];
}

function anonymousKiB(line: string): number {
  const [, from, to, rights, inode, path = ''] = LINE.exec(line) ?? [];
  if (from === undefined || to === undefined || inode !== '0' || !rights?.startsWith('rw')) return 0;
  if (path !== '' && path !== '[heap]') return 0;
  return (Number.parseInt(to, 16) - Number.parseInt(from, 16)) / 1024;
}

function filesBelow(directory: string): string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  } catch {
    return [];
  }
}
