import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createVif, Netfront } from '../../lib/testing/netfront/index.js';
import type { Store, Xen } from '../../lib/xen/seam.js';
import { knowNeighbour } from '../../worlds/processes/bridge.js';
import { BRIDGE } from '../../worlds/processes/bridged-world.js';
import { datagramFrame, isDatagramTo } from './datagram.js';
import { Silence } from './silence.js';
import { TickerPort } from './ticker-port.js';

const PORT = 7777;
/** From one probe to the next, in each direction. */
const PROBE_MS = 0.2;
const CONNECT_MS = 20_000;
/** Of many vifs, so many have a probe at each step. */
const PROBED_AT_ONCE = 2;
const FIRST_ADDRESS = 2;

interface Probed {
  readonly address: string;
  readonly port: TickerPort;
  readonly front: Netfront;
  readonly fromGuest: Silence;
  readonly toGuest: Silence;
}

/** The vifs of a guest in this process: each sends probes to the host through its vif, and the host sends probes to it. */
export class ProbedVifs implements AsyncDisposable {
  readonly #vifs: Probed[] = [];
  readonly #socket: Socket;
  #probing: Promise<void> | undefined;
  #ended = false;
  #next = 0;

  /** Connects the vifs: a backend has to run. */
  static async connect(xen: Xen, domid: number, count: number): Promise<ProbedVifs> {
    // Without a lookup for each address, which comes an event later.
    const lookup = (name: string, _: unknown, done: (error: null, address: string, family: number) => void) =>
      done(null, name, 4);
    const socket = createSocket({ type: 'udp4', lookup: lookup as never });
    const listens = once(socket, 'listening');
    socket.bind(PORT, BRIDGE.address);
    await listens;
    const vifs = new ProbedVifs(socket);
    for (let handle = 0; handle < count; handle++) await vifs.#connect(xen, domid, handle);
    vifs.#probing = vifs.#probe();
    return vifs;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (_, { address }) => {
      const vif = this.#vifs[Number(address.slice(address.lastIndexOf('.') + 1)) - FIRST_ADDRESS];
      vif?.fromGuest.hear(performance.now());
    });
  }

  get violations(): number {
    return this.#vifs.reduce((sum, { front }) => sum + front.violations.total, 0);
  }

  begin(): void {
    for (const { fromGuest, toGuest } of this.#vifs) for (const one of [fromGuest, toGuest]) one.begin();
  }

  /** The vifs of which no frame has come since then, by direction. */
  silentSince(ms: number): string[] {
    return this.#vifs.flatMap(({ fromGuest, toGuest }, handle) => [
      ...(fromGuest.heardMs > ms ? [] : [`vif ${handle} from the guest`]),
      ...(toGuest.heardMs > ms ? [] : [`vif ${handle} to the guest`]),
    ]);
  }

  /** The longest silences since `begin`: those of the vif that waited longest. */
  longestMs(): { readonly fromGuest: number; readonly toGuest: number } {
    return {
      fromGuest: Math.max(...this.#vifs.map(({ fromGuest }) => fromGuest.longestMs)),
      toGuest: Math.max(...this.#vifs.map(({ toGuest }) => toGuest.longestMs)),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await this.#probing;
    for (const { front } of this.#vifs) await front[Symbol.asyncDispose]();
    this.#socket.close();
  }

  async #connect(xen: Xen, domid: number, handle: number): Promise<void> {
    const [mac, address] = [macOf(handle), addressOf(handle)];
    const [fromGuest, toGuest] = [new Silence(), new Silence()];
    const ends = { sourceMac: mac, targetMac: BRIDGE.mac, source: address, target: BRIDGE.address };
    const port = new TickerPort(datagramFrame({ ...ends, port: PORT }, 'from guest'), (bytes) => {
      if (isDatagramTo(PORT, bytes)) toGuest.hear(performance.now());
    });
    await knowNeighbour(BRIDGE.name, address, mac);
    const signal = AbortSignal.timeout(CONNECT_MS);
    const front = await Netfront.connect({ xen, port, domid, handle, signal });
    this.#vifs.push({ address, port, front, fromGuest, toGuest });
  }

  async #probe(): Promise<void> {
    const word = new Int32Array(new SharedArrayBuffer(4));
    const atOnce = Math.min(PROBED_AT_ONCE, this.#vifs.length);
    while (!this.#ended) {
      // No timer of Node is that short, and a loop without a pause would take a processor from the workers.
      Atomics.wait(word, 0, 0, PROBE_MS);
      for (let i = 0; i < atOnce; i++) {
        const { port, address } = this.#vifs[this.#next++ % this.#vifs.length];
        port.tick();
        this.#socket.send('to guest', PORT, address);
      }
      await nextTurn();
    }
  }
}

export async function createVifs(toolstack: Store, domid: number, count: number): Promise<void> {
  for (let handle = 0; handle < count; handle++)
    await createVif(toolstack, { domid, handle, mac: macOf(handle), bridge: BRIDGE.name });
}

function macOf(handle: number): string {
  return `00:16:3e:77:01:${handle.toString(16).padStart(2, '0')}`;
}

function addressOf(handle: number): string {
  return `10.77.0.${FIRST_ADDRESS + handle}`;
}
