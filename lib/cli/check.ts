import { Command } from 'commander';
import type { CodeCache } from '../host/code-cache.js';
import { jsonLine } from '../text.js';
import type { Check, CheckOptions } from './checks/check-result.js';
import { codeCacheCheck } from './checks/code-cache.js';
import { kernelDriverCheck } from './checks/driver.js';
import { bridgesCheck, hotplugCheck, rightsCheck } from './checks/network.js';
import { runtimeCheck } from './checks/runtime.js';
import { deviceCheck, xenChecks } from './checks/xen.js';
import { EXIT_NOT_READY } from './exit.js';
import { jsonOption, sharedOption } from './options.js';
import { table } from './table.js';
import { workersCheck } from './workers-check.js';

/** @param codeOfRun returns the code cache of what `vifd run` starts from; undefined if that is no bundle. */
export function checkCommand(codeOfRun: () => CodeCache | undefined): Command {
  return new Command('check')
    .description('check what `vifd run` needs from this domain, and print what is missing and the remedy')
    .addOption(jsonOption())
    .addOption(sharedOption('journal', 'the directory for the journals of `vifd run`'))
    .addOption(sharedOption('store'))
    .addOption(sharedOption('libraries'))
    .action((given: CheckOptions & { json?: boolean }) => check({ ...given, code: codeOfRun() }));
}

async function check({ json, ...options }: CheckOptions & { json?: boolean }): Promise<void> {
  const checks = await runChecks(options);
  const ready = isReady(checks);
  if (json === true) process.stdout.write(`${jsonLine(checksJson(checks))}\n`);
  else process.stdout.write(asText(checks));
  if (!ready) process.exitCode = EXIT_NOT_READY;
}

/** Returns the object that `vifd check --json` prints, field by field; docs/schemas/check.json describes it. */
export function checksJson(checks: readonly Check[]) {
  return {
    schemaVersion: 1,
    ready: isReady(checks),
    checks: checks.map(({ name, state, found, remedy }) => ({ name, state, found, remedy })),
  };
}

/** Runs all checks, even if one finds something missing. */
export async function runChecks(options: CheckOptions): Promise<Check[]> {
  const root = options.root ?? '';
  return [
    ...(await xenChecks(options)),
    deviceCheck(root, '/dev/net/tun', 'tun'),
    rightsCheck(root),
    kernelDriverCheck(root),
    runtimeCheck(root, options.journal),
    ...workersCheck(root, options.journal),
    hotplugCheck(root),
    bridgesCheck(root),
    codeCacheCheck(options.code),
  ];
}

export function isReady(checks: readonly Check[]): boolean {
  return checks.every(({ state }) => state !== 'missing');
}

/** Returns a table of the checks, with each remedy below its check, and a sentence. */
export function asText(checks: readonly Check[]): string {
  const rows = checks.flatMap(({ state, name, found, remedy }) => [
    { state, check: name, found },
    ...(remedy === undefined ? [] : [{ state: '', check: '', found: `-> ${remedy}` }]),
  ]);
  const missing = checks.filter(({ state }) => state === 'missing').map(({ name }) => name);
  const verdict =
    missing.length === 0 ? 'vifd can run here.' : `vifd cannot run here: missing ${missing.join(', ')}.`;
  return `${table(['state', 'check', 'found'], rows)}\n${verdict}\n`;
}
