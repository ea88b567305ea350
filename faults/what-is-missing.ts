import { missingTool, refusedNamespaces } from '../programs/namespaces.js';

/** @returns what the table needs and this machine lacks, as a sentence; undefined if it lacks nothing. */
export function whatIsMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'it needs root, since it limits, stops and mounts: run it as root';
  return missingTool('prlimit', 'ping') ?? refusedNamespaces('run it on a host', 'unshare --net true');
}
