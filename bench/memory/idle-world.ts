import { readFileSync } from 'node:fs';
import { createVif, Netfront } from '../../lib/testing/netfront/index.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Xen } from '../../lib/xen/seam.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ip, makeBridge } from '../../worlds/processes/bridge.js';
import { BRIDGE } from '../../worlds/processes/bridged-world.js';
import { ownMounts, ProcessWorld } from '../../worlds/processes/process-world.js';
import { isWorker, Supervised } from '../../worlds/processes/supervised.js';
import { until } from '../../worlds/processes/until.js';
import { datagramFrame } from '../gap/datagram.js';
import { TickerPort } from '../gap/ticker-port.js';

/** vifd paces a guest that connects more vifs than these at its start. */
const VIFS_OF_A_GUEST = 16;
const CONNECT_MS = 600_000;
const PATIENT_MS = 600_000;
const MS_PER_TICK = 10;

/** Guests in this process, and a `vifd run --workers`. */
export class IdleWorld extends ProcessWorld {
  #vifd!: Supervised;
  readonly #xens: Xen[] = [];
  readonly #ports: TickerPort[] = [];
  readonly #vifsOfGuest: number;

  /** @param vifs how many may connect. */
  static async open(workers: string, vifs: number, vifsOfGuest = VIFS_OF_A_GUEST): Promise<IdleWorld> {
    await ownMounts();
    const world = new IdleWorld(vifsOfGuest);
    try {
      await world.#start(workers, Math.ceil(vifs / vifsOfGuest));
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(vifsOfGuest: number) {
    super('memory');
    this.#vifsOfGuest = vifsOfGuest;
  }

  get supervisor(): number {
    return this.#vifd.pid;
  }

  get vifs(): number {
    return this.#ports.length;
  }

  /** The workers that serve guests. */
  get workers(): number[] {
    const pids = new Set(this.#vifd.of('attached').map(({ worker }) => Number(worker)));
    return [...pids].filter((pid) => isWorker(pid));
  }

  /** The worker without vifs. */
  get standby(): number | undefined {
    const { workers } = this;
    const all = this.#vifd.of('worker-started').map(({ pid }) => Number(pid));
    return all.findLast((pid) => isWorker(pid) && !workers.includes(pid));
  }

  /** Connects further guests, one after the other, until there are so many vifs and a standby. @throws Error if a worker has died. */
  async grow(vifs: number): Promise<void> {
    while (this.#ports.length < vifs) await this.#connect(this.#ports.length);
    const isComplete = () => this.#vifd.of('attached').length >= vifs && this.standby !== undefined;
    if (!(await until(isComplete, PATIENT_MS))) throw new Error(`not all of ${vifs} vifs were attached`);
    this.requireSound();
  }

  /** @throws Error if a worker has died: on a busy machine its event loop may not run for a second. */
  requireSound(): void {
    const died = this.#vifd.of('worker-died');
    if (died.length > 0) throw new Error(`a worker died: ${JSON.stringify(died)}`);
  }

  /** Has each guest send a frame. */
  tick(): void {
    for (const port of this.#ports) port.tick();
  }

  async #start(workers: string, guests: number): Promise<void> {
    await ip('link', 'set', 'lo', 'up');
    await makeBridge(BRIDGE);
    this.onEnd(() => ip('link', 'delete', BRIDGE.name));
    const domids = Array.from({ length: guests }, (_, i) => i + 1);
    await this.startStore([0, ...domids]);
    const options = ['--workers', workers, '--json', '--bridge', BRIDGE.name];
    this.#vifd = await Supervised.start({ program: this.vifdRun(options), env: this.environment(0) });
    this.onEnd(async () => {
      await this.#vifd.end('SIGTERM');
      for (const xen of this.#xens) await xen[Symbol.asyncDispose]();
    });
    await this.#vifd.until('ready');
    for (const domid of domids) {
      Object.assign(process.env, this.environment(domid));
      this.#xens.push(await openXen({ domid, libraries: XENSIM_LIBRARIES, storePath: this.socket(domid) }));
    }
  }

  async #connect(index: number): Promise<void> {
    const guest = Math.floor(index / this.#vifsOfGuest);
    const [domid, handle] = [guest + 1, index % this.#vifsOfGuest];
    const mac = `00:16:3e:78:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`;
    const addresses = { source: '10.77.0.2', target: BRIDGE.address };
    const frame = datagramFrame({ sourceMac: mac, targetMac: BRIDGE.mac, ...addresses, port: 7777 }, 'tick');
    const port = new TickerPort(frame, () => {});
    this.#ports.push(port);
    await createVif(this.toolstack, { domid, handle, mac, bridge: BRIDGE.name });
    const signal = AbortSignal.timeout(CONNECT_MS);
    const front = await Netfront.connect({ xen: this.#xens[guest], port, domid, handle, signal });
    this.onEnd(() => front[Symbol.asyncDispose]());
  }
}

/** `Anonymous` of /proc/PID/smaps_rollup, in MB (10^6 bytes): memory that the process needs for itself. */
export function anonymousMb(pid: number): number {
  const [, kilobytes] = /^Anonymous:\s*(\d+) kB$/m.exec(
    readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'),
  ) as RegExpExecArray;
  return (Number(kilobytes) * 1024) / 1e6;
}

/** Processor time that a process has used. */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // utime and stime (proc(5)), counted from the state, which stands after the name in brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}
