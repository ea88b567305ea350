/**
 * A guest as a process, for machines without Xen:
 * `node dist/testing/netfront/guest.js --domid 7 --tap eth0 --mac 00:16:3e:00:00:07 --libraries DIR --store SOCKET`
 *
 * Serves a tap in the network namespace that it was started in; without `--tap`, known frames (`--send`, `--check`).
 * Prints one JSON object a line:
 *
 *     {"event":"ready","domid":7,"handle":0,"tap":"eth0"}
 *     {"event":"connected","backend":{...},"afterMs":12}
 *     {"event":"violation","kind":"wrong-id","ring":"from-guest","slot":3,"detail":"..."}
 *     {"event":"stats","fromGuest":{...},"toGuest":{...},"violations":0}      at SIGUSR1, or every --stats-every-ms
 *     {"event":"summary","reason":"closed by us",...,"kinds":{}}              at SIGTERM, or when the vif is over
 *
 * Ends with 0; with 1 when the backend broke the protocol, 2 when it could not start.
 */
import { parseArgs } from 'node:util';
import { VifdError } from '../../errors.js';
import type { Port } from '../../ports/port.js';
import { tap } from '../../ports/tap.js';
import { openXen } from '../../xen/native/open.js';
import { openStore } from '../../xen/store/client.js';
import { Netfront } from './netfront.js';
import { TrafficPort } from './traffic.js';

const CLOSE_TIMEOUT_MS = 2000;
/** A timer of this length keeps the process alive while its guest is idle, since nothing else does. */
const ALIVE_MS = 1 << 30;

const OPTIONS = {
  domid: { type: 'string' },
  handle: { type: 'string', default: '0' },
  backend: { type: 'string', default: '0' },
  tap: { type: 'string' },
  mac: { type: 'string' },
  mtu: { type: 'string' },
  split: { type: 'boolean', default: false },
  combined: { type: 'boolean', default: false },
  queues: { type: 'string', default: '1' },
  'keep-grants': { type: 'boolean', default: false },
  /** Lengths of frames to send, e.g. 60,1514,65535; `--frames` of them. */
  send: { type: 'string' },
  frames: { type: 'string' },
  seed: { type: 'string', default: '1' },
  /** Seed of the frames that should come. */
  check: { type: 'string' },
  libraries: { type: 'string' },
  store: { type: 'string' },
  'stats-every-ms': { type: 'string' },
} as const;

interface GuestOptions {
  readonly domid: number;
  readonly handle: number;
  readonly backendDomid: number;
  readonly tap: string | undefined;
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  readonly splitChannels: boolean | undefined;
  readonly queues: number;
  readonly keepGrants: boolean;
  readonly send: readonly number[] | undefined;
  readonly frames: number | undefined;
  readonly seed: number;
  readonly check: number | undefined;
  readonly libraries: string | undefined;
  readonly store: string | undefined;
  readonly statsEveryMs: number | undefined;
}

function parseOptions(args: string[]): GuestOptions {
  const { values } = parseArgs({ args, options: OPTIONS, strict: true });
  if (values.domid === undefined)
    throw new VifdError('ERR_ARGUMENT', '--domid is missing: give the guest a number');
  if (values.split && values.combined)
    throw new VifdError('ERR_ARGUMENT', 'choose one of --split and --combined');
  return {
    domid: count('--domid', values.domid),
    handle: count('--handle', values.handle),
    backendDomid: count('--backend', values.backend),
    tap: values.tap,
    mac: values.mac,
    mtu: optionalCount('--mtu', values.mtu),
    splitChannels: values.split ? true : values.combined ? false : undefined,
    queues: count('--queues', values.queues),
    keepGrants: values['keep-grants'],
    send: values.send?.split(',').map((size) => count('--send', size)),
    frames: optionalCount('--frames', values.frames),
    seed: count('--seed', values.seed),
    check: optionalCount('--check', values.check),
    libraries: values.libraries,
    store: values.store,
    statsEveryMs: optionalCount('--stats-every-ms', values['stats-every-ms']),
  };
}

function count(name: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new VifdError('ERR_ARGUMENT', `${name} is ${JSON.stringify(text)}: give a whole number`);
}

function optionalCount(name: string, text: string | undefined): number | undefined {
  return text === undefined ? undefined : count(name, text);
}

function print(event: string, fields: object): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function openPort(options: GuestOptions): Port {
  const { tap: name, mac, mtu, send, frames, seed, check } = options;
  if (name === undefined) {
    return new TrafficPort({
      ...(send === undefined
        ? {}
        : { generate: { seed, sizes: send, ...(frames === undefined ? {} : { frames }) } }),
      ...(check === undefined ? {} : { check: { seed: check, direction: 'to-guest' } }),
    });
  }
  return tap({
    name,
    up: true,
    multiQueue: options.queues > 1,
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined ? {} : { mtu }),
  });
}

function traffic(port: Port): object {
  if (!(port instanceof TrafficPort)) return {};
  return {
    sent: port.generator?.sent ?? 0,
    came: port.framesWritten,
    ...(port.checker === undefined ? {} : { checked: port.checker.counts }),
  };
}

/** Resolves at the first SIGTERM or SIGINT. */
function stopRequested(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve()).once('SIGINT', () => resolve());
  });
}

async function run(options: GuestOptions): Promise<number> {
  // The simulated Xen reads from the environment which domain opens it.
  process.env.XENSIM_DOMID ??= String(options.domid);
  const { libraries } = options;
  const store = await openStore(options.store === undefined ? {} : { path: options.store });
  await using xen = await openXen({
    domid: options.domid,
    store,
    ...(libraries === undefined ? {} : { libraries }),
  });
  await using port = openPort(options);
  const startMs = xen.clock.now();
  const stop = stopRequested();
  print('ready', { domid: options.domid, handle: options.handle, tap: options.tap });
  const aborted = new AbortController();
  void stop.then(() =>
    aborted.abort(new VifdError('ERR_STATE', 'told to stop before the vif was connected')),
  );
  const { splitChannels } = options;
  const front = await Netfront.connect({
    xen,
    port,
    domid: options.domid,
    handle: options.handle,
    backendDomid: options.backendDomid,
    keepGrants: options.keepGrants,
    seed: options.seed,
    closeTimeoutMs: CLOSE_TIMEOUT_MS,
    signal: aborted.signal,
    ...(splitChannels === undefined ? {} : { splitChannels }),
    queues: Math.min(options.queues, port.queuesMax ?? 1),
    onViolation: (violation) => print('violation', violation),
  });
  void front.connected({ signal: aborted.signal }).then(
    () => print('connected', { backend: front.backendFeatures, afterMs: xen.clock.now() - startMs }),
    () => {},
  );
  const stats = () => print('stats', { ...front.stats, queues: front.queueStats, ...traffic(port) });
  process.on('SIGUSR1', stats);
  const timer =
    options.statsEveryMs === undefined
      ? setInterval(() => {}, ALIVE_MS)
      : setInterval(stats, options.statsEveryMs);
  await Promise.race([stop, front.closed]);
  await front.close();
  clearInterval(timer);
  const reason = await front.closed;
  const damaged = port instanceof TrafficPort ? (port.checker?.counts.damaged ?? 0) : 0;
  print('summary', { reason, ...front.stats, kinds: front.violations.counts(), ...traffic(port) });
  return front.violations.total + damaged > 0 ? 1 : 0;
}

try {
  process.exitCode = await run(parseOptions(process.argv.slice(2)));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`guest: ${message}\n`);
  process.exitCode = 2;
}
