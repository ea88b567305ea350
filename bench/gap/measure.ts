import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { createVif, Netfront } from '../../lib/testing/netfront/index.js';
import { openXen } from '../../lib/xen/native/open.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { BRIDGE, BridgedWorld } from '../../worlds/processes/bridged-world.js';
import { command } from '../../worlds/processes/children.js';
import { datagramFrame, isDatagramTo } from './datagram.js';
import { bareEndMs, bareStartMs, Processes } from './processes.js';
import { TickerPort } from './ticker-port.js';
import { type Arrivals, measureWorkerGaps, type WorkerGaps } from './workers.js';

export interface Gaps {
  readonly payload: string;
  /** From SIGKILL to the first frame that came out of the tap, and to the first that came to the guest. */
  readonly fromGuestMs: number[];
  readonly toGuestMs: number[];
  /** Node's own start, measured before each kill. */
  readonly bareStartMs: number[];
  /** From SIGTERM to the end of the process, and the same of Node alone just before. */
  readonly endMs: number[];
  readonly bareEndMs: number[];
  readonly violations: number;
}

const DOMID = 7;
const GUEST_MAC = '00:16:3e:77:00:01';
const GUEST_ADDRESS = '10.77.0.2';
const PORT = 7777;
const TICK_MS = 1;
/** Frames that the killed process had sent may come this late. No new process carries a frame so soon: Node's start alone takes longer. */
const STALE_MS = 5;
/** Each process runs until the tap has its carrier again, and then for a random time. */
const RUN_MS_MIN = 60;
const RUN_MS_SPREAD = 60;

export interface AllGaps {
  readonly modes: readonly Gaps[];
  readonly workers: WorkerGaps & { readonly violations: number };
}

export interface GapOptions {
  readonly kills: number;
  readonly payloads: readonly string[];
}

/** A guest in this process sends a datagram a millisecond to the host, and gets one. */
export async function measureGaps({ kills, payloads }: GapOptions): Promise<AllGaps> {
  await using machine = await BridgedWorld.open('gap');
  await machine.addDomain(DOMID);
  await createVif(machine.toolstack, { domid: DOMID, handle: 0, mac: GUEST_MAC });
  Object.assign(process.env, machine.environment(DOMID));
  const storePath = machine.socket(DOMID);
  await using xen = await openXen({ domid: DOMID, libraries: XENSIM_LIBRARIES, storePath });
  const came: Came = { hostMs: 0, guestMs: 0 };
  const arrivals: Arrivals = { host: [], guest: [] };
  const ends = { sourceMac: GUEST_MAC, targetMac: BRIDGE.mac, source: GUEST_ADDRESS, target: BRIDGE.address };
  const port = new TickerPort(datagramFrame({ ...ends, port: PORT }, 'from guest'), (bytes) => {
    if (!isDatagramTo(PORT, bytes)) return;
    came.guestMs ||= performance.now();
    arrivals.guest.push(performance.now());
  });
  const socket = await listen(() => {
    came.hostMs ||= performance.now();
    arrivals.host.push(performance.now());
  });
  const timer = setInterval(() => {
    port.tick();
    socket.send('to guest', PORT, GUEST_ADDRESS);
  }, TICK_MS);
  const processes = new Processes(machine);
  processes.begin('copy');
  await using front = await Netfront.connect({ xen, port, domid: DOMID, handle: 0 });
  const all: Gaps[] = [];
  for (const payload of payloads) {
    const before = front.violations.total;
    // The process that runs is of the other mode, and its gap does not count.
    await nextProcess(processes, payload, came);
    const gaps = {
      payload,
      fromGuestMs: [] as number[],
      toGuestMs: [] as number[],
      bareStartMs: [] as number[],
      endMs: [] as number[],
      bareEndMs: [] as number[],
    };
    for (let kill = 0; kill < kills; kill++) {
      gaps.bareStartMs.push(await bareStartMs());
      const killedMs = await nextProcess(processes, payload, came);
      gaps.fromGuestMs.push(came.hostMs - killedMs);
      gaps.toGuestMs.push(came.guestMs - killedMs);
    }
    for (let end = 0; end < kills; end++) {
      gaps.bareEndMs.push(await bareEndMs());
      gaps.endMs.push(await stopOne(processes, payload, came));
    }
    all.push({ ...gaps, violations: front.violations.total - before });
  }
  await processes.kill();
  const before = front.violations.total;
  const workers = await measureWorkerGaps(machine, kills, arrivals);
  clearInterval(timer);
  socket.close();
  return { modes: all, workers: { ...workers, violations: front.violations.total - before } };
}

/** When the first frame of the running process came; 0 before. */
interface Came {
  hostMs: number;
  guestMs: number;
}

/** Kills a process after a random time, and starts the next. Resolves when the next one carries frames. @returns when the signal was sent. */
async function nextProcess(processes: Processes, payload: string, came: Came): Promise<number> {
  const isServed = () => came.hostMs > 0 && came.guestMs > 0;
  await processes.until(isServed);
  await sleep(RUN_MS_MIN + RUN_MS_SPREAD * Math.random());
  const killedMs = await processes.kill();
  processes.begin(payload);
  await sleep(STALE_MS);
  came.hostMs = 0;
  came.guestMs = 0;
  await processes.until(isServed);
  return killedMs;
}

/** Stops a process by SIGTERM, and starts the next. @returns how long the stop took. */
async function stopOne(processes: Processes, payload: string, came: Came): Promise<number> {
  const signalledMs = await processes.kill('SIGTERM');
  const tookMs = performance.now() - signalledMs;
  processes.begin(payload);
  await sleep(STALE_MS);
  came.hostMs = 0;
  came.guestMs = 0;
  await processes.until(() => came.hostMs > 0 && came.guestMs > 0);
  await sleep(RUN_MS_MIN + RUN_MS_SPREAD * Math.random());
  return tookMs;
}

async function listen(onMessage: () => void): Promise<Socket> {
  const socket = createSocket('udp4').on('message', onMessage);
  socket.bind(PORT, BRIDGE.address);
  await once(socket, 'listening');
  // The guest does not respond to ARP, so the neighbour entry is permanent.
  const neighbour = [GUEST_ADDRESS, 'lladdr', GUEST_MAC, 'dev', BRIDGE.name, 'nud', 'permanent'];
  await command('ip', 'neighbour', 'add', ...neighbour);
  return socket;
}
