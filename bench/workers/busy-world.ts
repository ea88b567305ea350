import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { backendVifPath } from '../../lib/protocol/xenbus.js';
import { createVif, removeVif } from '../../lib/testing/netfront/index.js';
import { systemClock } from '../../lib/xen/native/clock.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { ip, makeBridge } from '../../worlds/processes/bridge.js';
import { BRIDGE } from '../../worlds/processes/bridged-world.js';
import { command } from '../../worlds/processes/children.js';
import { Daemon } from '../../worlds/processes/daemon.js';
import { ownMounts, ProcessWorld } from '../../worlds/processes/process-world.js';
import { Conversation } from '../neighbours/conversation.js';
import type { Counted } from '../neighbours/messages.js';
import { letServe } from '../neighbours/neighbour-world.js';
import { macOf, SINK_MAC } from '../neighbours/plan.js';

/** How many workers each vifd has. Both run all the time, and have guests in turns. */
export const ARMS = [1, 2] as const;
export type Arm = (typeof ARMS)[number];

/** What two guests that send as fast as they are served got in one round. */
export interface Turn {
  /** Thousands of frames a second, of both guests. */
  readonly kpps: number;
  /** How many processors the guests used, and the workers. */
  readonly guestCores: number;
  readonly workerCores: number;
}

const GUESTS = [10, 11] as const;
const FLOODERS = fileURLToPath(new URL('../neighbours/flooders.js', import.meta.url));
const SETTLE_MS = 1000;
const MEASURED_MS = 2000;
/** A guest that was killed does not close its vif: the toolstack waits this long. */
const REMOVE_TIMEOUT_MS = 1000;
/** Of /proc/PID/stat: sysconf(_SC_CLK_TCK), which is 100 on every Linux that Node runs on. */
const TICK_MS = 10;

/** A host with two vifds, whose guests are processes of their own. */
export class BusyWorld extends ProcessWorld {
  static async open(payload: string): Promise<BusyWorld> {
    await ownMounts();
    const world = new BusyWorld('busy');
    try {
      await world.#start(payload);
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Lets both guests send to the vifd of this arm. @throws if they do not have so many workers. */
  async turn(arm: Arm): Promise<Turn> {
    const backendDomid = ARMS.indexOf(arm);
    const guests: Conversation[] = [];
    try {
      for (const domid of GUESTS) guests.push(await this.#flood(domid, backendDomid));
      await sleep(SETTLE_MS);
      const workers = await this.#workers(backendDomid);
      if (workers.length !== arm)
        throw new Error(`the guests have ${workers.length} workers, and not ${arm}`);
      const read = async () => ({
        frames: await Promise.all(guests.map((guest) => guest.ask<Counted>({}))),
        guestMs: guests.reduce((sum, { pid }) => sum + cpuMs(pid), 0),
        workerMs: workers.reduce((sum, pid) => sum + cpuMs(pid), 0),
      });
      const before = await read();
      await sleep(MEASURED_MS);
      const after = await read();
      const rates = after.frames.map(({ frames: [count], atMs }, i) => {
        const { frames, atMs: beganMs } = before.frames[i];
        return (count - frames[0]) / (atMs - beganMs);
      });
      const ms = after.frames[0].atMs - before.frames[0].atMs;
      return {
        kpps: rates.reduce((sum, rate) => sum + rate, 0),
        guestCores: (after.guestMs - before.guestMs) / ms,
        workerCores: (after.workerMs - before.workerMs) / ms,
      };
    } finally {
      for (const guest of guests) await guest[Symbol.asyncDispose]();
      for (const domid of GUESTS.slice(0, guests.length)) {
        const vif = { domid, handle: 0, backendDomid };
        await removeVif(this.toolstack, systemClock, vif, { timeoutMs: REMOVE_TIMEOUT_MS });
      }
    }
  }

  async #start(payload: string): Promise<void> {
    await ip('link', 'set', 'lo', 'up');
    await makeBridge(BRIDGE);
    const sink = SINK_MAC.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
    await command('bridge', 'fdb', 'add', sink, 'dev', `${BRIDGE.name}-up`, 'master', 'static');
    await this.startStore([...ARMS.keys(), ...GUESTS]);
    for (const [domid, workers] of ARMS.entries()) {
      await letServe(this.toolstack, domid);
      const options = ['--bridge', BRIDGE.name, '--payload', payload, '--workers', `${workers}`];
      const daemon = await Daemon.start({
        program: this.vifdRun(options, domid),
        env: this.environment(domid),
        onLine: () => undefined,
      });
      this.onEnd(() => daemon.stop());
      await daemon.ready();
    }
  }

  async #flood(domid: number, backendDomid: number): Promise<Conversation> {
    await createVif(this.toolstack, {
      domid,
      handle: 0,
      backendDomid,
      mac: macOf(domid),
      bridge: BRIDGE.name,
    });
    const guest = await Conversation.start({
      name: `vif${domid}.0's guest`,
      args: [FLOODERS, XENSIM_LIBRARIES, `${domid}=1=${this.socket(domid)}=${backendDomid}`],
      env: this.environment(domid),
    });
    this.onEnd(() => guest[Symbol.asyncDispose]());
    return guest;
  }

  /** The processes that serve the guests, each once. */
  async #workers(backendDomid: number): Promise<number[]> {
    const pids = GUESTS.map((domid) => {
      const path = `${backendVifPath(backendDomid, domid, 0)}/vifd/attached`;
      return this.toolstack.read(path);
    });
    return [...new Set((await Promise.all(pids)).map(Number))];
  }
}

/** Processor time that a process has used. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // utime and stime (proc(5)), counted from the state, which stands after the name in brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
