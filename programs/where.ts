import { execFileSync } from 'node:child_process';
import { cpus, release } from 'node:os';

/** The machine and the checkout to which figures belong. */
export function where(): Record<string, string> {
  const cores = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    commit:
      git('rev-parse', '--short', 'HEAD') +
      (git('status', '--porcelain', 'lib', 'native') ? ' (modified)' : ''),
    cpu: `${cores.length} x ${cores[0]?.model.trim() ?? 'unknown'}`,
    kernel: release(),
    node: `${process.version} (V8 ${process.versions.v8})`,
  };
}

function git(...args: string[]): string {
  try {
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}
