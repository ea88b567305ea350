import { existsSync } from 'node:fs';
import { createVif, removeVif } from '../../lib/testing/netfront/index.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import { BACKEND_PROGRAM, XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ip, knowNeighbour, links } from '../../worlds/processes/bridge.js';
import { BRIDGE, BridgedWorld } from '../../worlds/processes/bridged-world.js';
import { Child, GUARD } from '../../worlds/processes/children.js';
import { GUEST_DEVICE, ipInside, startGuest } from '../../worlds/processes/guest-process.js';
import { isWorker, Supervised } from '../../worlds/processes/supervised.js';
import { until } from '../../worlds/processes/until.js';
import { Echo } from './echo.js';

export const missing: string | undefined = [BACKEND_PROGRAM, `${XENSIM_LIBRARIES}/libxengnttab.so.1`].find(
  (file) => !existsSync(file),
);

const PATIENT_MS = 20_000;

interface Guest {
  readonly domid: number;
  readonly child: Child;
  readonly echo: Echo;
}

/** Guests with a TCP connection each, and supervisors with workers, as processes on xensim. */
export class WorkersWorld implements AsyncDisposable {
  readonly guests = new Map<number, Guest>();
  readonly violations: string[] = [];
  readonly #world: BridgedWorld;
  readonly #supervisors: Supervised[] = [];

  static async open(): Promise<WorkersWorld> {
    return new WorkersWorld(await BridgedWorld.open('workers'));
  }

  private constructor(world: BridgedWorld) {
    this.#world = world;
  }

  get runtime(): string {
    return this.#world.journal();
  }

  async run(workers: string): Promise<Supervised> {
    const options = ['--workers', workers, '--json', '--bridge', BRIDGE.name];
    const program = this.#world.vifdRun(options);
    const supervisor = await Supervised.start({ program, env: this.#world.environment(0) });
    this.#supervisors.push(supervisor);
    return supervisor;
  }

  /** Runs another verb. */
  async verb(...args: string[]): Promise<string> {
    let text = '';
    const child = await Child.start({
      name: `vifd ${args[0]}`,
      command: [...GUARD, process.execPath, BACKEND_PROGRAM, ...args, '--journal', this.runtime],
      env: { ...this.#world.environment(0), XENSTORED_PATH: this.#world.socket(0) },
      onLine: (line) => {
        text += `${line}\n`;
      },
    });
    await child.ended;
    return text || child.lastWords;
  }

  /** Has the guest plugged in, booted and connected. */
  async plug(domid: number): Promise<Guest> {
    const address = `10.77.0.${100 + domid}`;
    const mac = `00:16:3e:77:00:${domid.toString(16).padStart(2, '0')}`;
    await this.#world.addDomain(domid);
    await createVif(this.#world.toolstack, { domid, handle: 0, mac, bridge: BRIDGE.name });
    let connected = false;
    const child = await startGuest({
      ...{ name: `guest ${domid}`, domid, mac, program: this.#world.programIn(domid) },
      onEvent: ({ event }, line) => {
        connected ||= event === 'connected';
        if (event === 'violation') this.violations.push(line);
      },
    });
    if (!(await until(() => connected, PATIENT_MS))) throw new Error(`guest ${domid} does not connect`);
    const known = [BRIDGE.address, 'lladdr', BRIDGE.mac, 'dev', GUEST_DEVICE, 'nud', 'permanent'];
    await ipInside(child, 'address', 'add', `${address}/24`, 'dev', GUEST_DEVICE);
    await ipInside(child, 'link', 'set', GUEST_DEVICE, 'up');
    await ipInside(child, 'neighbour', 'replace', ...known);
    await knowNeighbour(BRIDGE.name, address, mac);
    const guest = { domid, child, echo: await Echo.start(child.pid, address) };
    this.guests.set(domid, guest);
    return guest;
  }

  /** Ends a guest, and removes its vif, as the toolstack does. */
  async unplug(domid: number): Promise<void> {
    const guest = this.guests.get(domid);
    this.guests.delete(domid);
    await guest?.echo[Symbol.asyncDispose]();
    await guest?.child.end('SIGTERM');
    await removeVif(this.#world.toolstack, systemClock, { domid, handle: 0 });
  }

  /** The processes of workers that live. */
  get workers(): number[] {
    const started = this.#supervisors.flatMap((one) => one.of('worker-started'));
    return started.map(({ pid }) => Number(pid)).filter((pid) => isWorker(pid));
  }

  /** Returns the process that has attached to a guest last, as the store has it. */
  async serverOf(domid: number): Promise<number> {
    return Number(await this.#world.toolstack.read(`/local/domain/0/backend/vif/${domid}/0/vifd/attached`));
  }

  /** Resolves when frames of all guests pass. @throws Error if a connection broke. */
  async flows(): Promise<void> {
    for (const { domid, echo } of this.guests.values())
      if (!(await echo.returns())) throw new Error(`guest ${domid}: ${echo.broken ?? 'nothing comes back'}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { echo, child } of this.guests.values()) {
      await echo[Symbol.asyncDispose]();
      await child.end('SIGKILL');
    }
    for (const supervisor of this.#supervisors) await supervisor.end('SIGKILL');
    for (const pid of this.workers) process.kill(pid, 'SIGKILL');
    await until(() => this.workers.length === 0, PATIENT_MS);
    for (const { name } of await links())
      if (name === BRIDGE.name || name.startsWith('vif')) await ip('link', 'delete', name);
    await this.#world[Symbol.asyncDispose]();
  }
}
