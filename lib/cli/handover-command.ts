import { accessSync, constants } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { VifMark, type VifName } from '../daemon/mark.js';
import { openXenFor, saysWhenLost, type XenOptions } from '../daemon/open-xen.js';
import { ownershipIn } from '../daemon/ownership.js';
import { Taps } from '../daemon/taps.js';
import { VifdError } from '../errors.js';
import { NO_KEEPER } from '../host/descriptor-keeper.js';
import { journalFiles } from '../host/journal-files.js';
import { HostLinks } from '../host/links.js';
import { interfaces } from '../host/netlink-interfaces.js';
import { runLockHolder, takeRunLock } from '../host/run-lock.js';
import { VifLocks } from '../host/vif-locks.js';
import { Netback } from '../netback/netback.js';
import type { VifAddress, VifInfo } from '../netback/vif-info.js';
import { backendVifRoot } from '../protocol/xenbus.js';
import { jsonLine, printable, shown } from '../text.js';
import type { Store } from '../xen/seam.js';
import { openStore } from '../xen/store/client.js';
import { ownDomid } from '../xen/store/own-domid.js';
import { EXIT_FAILED } from './exit.js';
import type { Handed, HandoverParts } from './handover.js';
import { XenNetbackControl } from './kernel-control.js';
import { jsonOption, sharedOption } from './options.js';
import { parseVif } from './vif-argument.js';

/** The differences between `adopt` and `release`. */
export interface HandoverVerb {
  readonly name: 'adopt' | 'release';
  readonly description: string;
  readonly hand: (parts: HandoverParts, vif: VifName) => Promise<Handed>;
  /** Whether `--all` includes this vif. */
  readonly means: (parts: HandoverParts, vif: VifName, mark: VifMark) => Promise<boolean>;
  /** Returns the text for people after success. */
  readonly done: (vif: string) => string;
}

interface HandoverOptions extends XenOptions {
  readonly all?: boolean;
  readonly journal: string;
  readonly json?: boolean;
}

const PAUSE_MS = 20;
const SYSFS = '/sys/bus/xen-backend/drivers_autoprobe';

export function handoverCommand(verb: HandoverVerb): Command {
  return new Command(verb.name)
    .description(verb.description)
    .argument('[vif]', 'as vif1.0')
    .option('--all', 'every vif for which this is possible')
    .addOption(jsonOption())
    .addOption(sharedOption('journal'))
    .addOption(sharedOption('store'))
    .addOption(sharedOption('libraries'))
    .action((vif: string | undefined, options: HandoverOptions) => run(verb, vif, options));
}

async function run(verb: HandoverVerb, name: string | undefined, options: HandoverOptions): Promise<void> {
  if ((name === undefined) === (options.all !== true))
    throw new VifdError('ERR_ARGUMENT', `Say which vif to ${verb.name}, as vif1.0; or give --all.`);
  const vif = name === undefined ? undefined : parseVif(name, ', or give --all');
  requireRights(verb);
  await using store = await openStore(options.store === undefined ? {} : { path: options.store });
  using _says = saysWhenLost(store);
  const parts = partsOf(store, await ownDomid(store), options);
  // Awaited here, because the store closes when this function returns.
  if (vif === undefined) return await all(verb, parts, options);
  const handed = await verb.hand(parts, vif);
  if (options.json === true) sayJson([handed]);
  else process.stdout.write(sentence(verb, handed));
}

/** Changes the owner of all vifs, one after the other, even if some fail. */
async function all(verb: HandoverVerb, parts: HandoverParts, options: HandoverOptions): Promise<void> {
  const results: object[] = [];
  for (const vif of await everyVif(parts, verb)) {
    try {
      const handed = await verb.hand(parts, vif);
      results.push(handed);
      if (options.json !== true) process.stdout.write(sentence(verb, handed));
    } catch (error) {
      if (!(error instanceof VifdError)) throw error;
      results.push({ vif: vif.id, error: { code: error.code, message: error.message } });
      process.exitCode = EXIT_FAILED;
      if (options.json !== true) process.stderr.write(`vifd: ${printable(error.message)}\n`);
    }
  }
  if (options.json === true) sayJson(results);
  else if (results.length === 0) process.stdout.write(`there is no vif to ${verb.name}\n`);
}

function sayJson(vifs: readonly object[]): void {
  process.stdout.write(`${jsonLine({ schemaVersion: 1, vifs })}\n`);
}

function sentence(verb: HandoverVerb, { vif, bridge, mtu, gapMs }: Handed): string {
  const where = bridge === undefined ? 'in no bridge' : `in ${shown(bridge)}`;
  return `${verb.done(vif)} in ${gapMs.toFixed(0)} ms; ${where}, MTU ${mtu}\n`;
}

async function everyVif(parts: HandoverParts, verb: HandoverVerb): Promise<VifName[]> {
  const { store, domid } = parts;
  const root = backendVifRoot(domid);
  const vifs: VifName[] = [];
  for (const guest of numbersOf(await store.list(root))) {
    for (const handle of numbersOf(await store.list(`${root}/${guest}`))) {
      const vif = parseVif(`vif${guest}.${handle}`);
      if (await verb.means(parts, vif, new VifMark(store, domid, vif))) vifs.push(vif);
    }
  }
  return vifs;
}

function numbersOf(names: readonly string[]): number[] {
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}

/** Reports missing rights first, because without them each step would fail. */
function requireRights({ name }: HandoverVerb): void {
  try {
    accessSync(SYSFS, constants.W_OK);
  } catch (cause) {
    const errno = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    if (errno === 'ENOENT')
      throw new VifdError(
        'ERR_XEN_UNAVAILABLE',
        `This machine has no ${SYSFS}: it is no Xen domain with backends.`,
        {
          errno,
        },
      );
    throw new VifdError(
      'ERR_XEN_UNAVAILABLE',
      `vifd ${name} may not write ${SYSFS} (${errno}): run it as root.`,
      {
        errno,
      },
    );
  }
}

function partsOf(store: Store, domid: number, options: HandoverOptions): HandoverParts {
  return {
    store,
    domid,
    kernel: new XenNetbackControl(),
    links: new HostLinks(),
    daemon: () => runLockHolder(options.journal),
    server: (vif) => new VifLocks(options.journal).holder(vif) ?? runLockHolder(options.journal),
    detachOnce: (vif) => detachOnce(vif, options),
    pause: () => sleep(PAUSE_MS),
    now: () => performance.now(),
  };
}

/** Attaches to one vif and detaches from it, as a daemon would: the attach completes what a killed process left undone. */
async function detachOnce(vif: VifName, options: HandoverOptions): Promise<void> {
  using lock = lockUnlessRunning(options.journal);
  if (lock === undefined) return;
  await using xen = await openXenFor(options);
  // Any settings that the guest has negotiated with its previous backend must be accepted.
  const network = interfaces();
  const taps = new Taps({ keeper: NO_KEEPER, network, multiQueue: true });
  const ownership = ownershipIn(xen, network, (how) => taps.open(how));
  const accept = async (found: VifAddress, serving: boolean) =>
    found.id === vif.id && ownership.accept(found, serving);
  const failures: VifdError[] = [];
  const port = (found: VifInfo) => ownership.port(found, undefined);
  const parts = { xen, accept, port, journals: journalFiles(options.journal) };
  // When `open` resolves, vifd has detached: it detaches from a vif that is not accepted in the same look.
  await using _netback = await Netback.open(parts, { error: (error) => failures.push(error) });
  // A service manager has the taps open (EBUSY) for the vifd that it is about to start; that vifd removes them.
  const failure = failures.find(({ errno }) => errno !== 'EBUSY');
  if (failure !== undefined) throw failure;
}

function lockUnlessRunning(directory: string): ReturnType<typeof takeRunLock> | undefined {
  try {
    return takeRunLock(directory);
  } catch (error) {
    if (error instanceof VifdError && error.code === 'ERR_RUNNING') return undefined;
    throw error;
  }
}
