import { Netback, type NetbackListeners, type NetbackOptions } from '../lib/netback/netback.js';
import { createVif, FramePort, Netfront } from '../lib/testing/netfront/index.js';
import type { Xen } from '../lib/xen/seam.js';
import type { Machine } from '../worlds/model/machine.js';

/** Events in both directions, on a machine with much else to do. */
const TURNS_MAX = 400;

/** A guest whose frames a test sends, and reads. */
export interface ExampleGuest {
  readonly domid: number;
  readonly front: Netfront;
  readonly received: Uint8Array[];
  send(frame: Uint8Array): void;
}

/** A machine with a backend that an example has opened, and guests with Linux's frontend. */
export class ExampleWorld {
  readonly #machine: Machine;
  readonly #dom0: Xen;
  readonly errors: string[] = [];
  netback!: Netback;

  private constructor(machine: Machine, dom0: Xen) {
    this.#machine = machine;
    this.#dom0 = dom0;
  }

  /** What `serve` serves by. */
  get xen(): Xen {
    return this.#dom0;
  }

  static async open(machine: Machine): Promise<ExampleWorld> {
    return new ExampleWorld(machine, await machine.open(0));
  }

  /** Opens the backend. @param open the example, if it opens it by itself. */
  async serve(
    options: Omit<NetbackOptions, 'xen'>,
    listeners: Partial<NetbackListeners> = {},
    open: (options: NetbackOptions) => Promise<Netback> = (all) =>
      Netback.open(all, { error: ({ message }) => this.errors.push(message), ...listeners }),
  ): Promise<void> {
    this.netback = await this.#settled(open({ xen: this.#dom0, journals: false, ...options }));
  }

  async guest(domid: number): Promise<ExampleGuest> {
    const mac = `00:16:3e:00:00:0${domid}`;
    await this.#settled(createVif(this.#dom0.store, { domid, handle: 0, mac }));
    const xen = await this.#machine.open(domid);
    const received: Uint8Array[] = [];
    const port = new FramePort({ onFrame: (frame) => received.push(frame.slice()) });
    const front = await this.#settled(Netfront.connect({ xen, handle: 0, port }));
    await this.#settled(front.connected());
    return { domid, front, received, send: (frame) => void port.send(frame) };
  }

  /** Waits until this is so. @throws Error if it does not happen. */
  async until(isSo: () => boolean): Promise<void> {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      await this.#machine.settle();
      if (isSo()) return;
    }
    throw new Error(`it did not happen: ${isSo}`);
  }

  settle(): Promise<void> {
    return this.#machine.settle();
  }

  async close(): Promise<void> {
    await this.#settled(this.netback[Symbol.asyncDispose]());
    await this.#machine.close();
  }

  async #settled<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    const done = work.finally(() => {
      isDone = true;
    });
    done.catch(() => {});
    await this.until(() => isDone);
    return done;
  }
}

/** Returns a frame of UDP over IPv4 with complete checksums left out (0 is none), of 60 bytes at least. */
export function udpFrame(
  addresses: { from: number; to: number; fromMac?: number; toMac?: number },
  ports: { from: number; to: number },
  payload: readonly number[] = [],
): Uint8Array {
  const frame = Buffer.alloc(Math.max(60, 42 + payload.length));
  const { from, to, fromMac = from, toMac = to } = addresses;
  frame.set([0, 0x16, 0x3e, 0, 0, toMac, 0, 0x16, 0x3e, 0, 0, fromMac, 8, 0, 0x45], 0);
  frame.writeUInt16BE(28 + payload.length, 16);
  frame.set([64, 17], 22);
  frame.set([10, 0, 0, from, 10, 0, 0, to], 26);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += frame.readUInt16BE(at);
  frame.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, 24);
  frame.writeUInt16BE(ports.from, 34);
  frame.writeUInt16BE(ports.to, 36);
  frame.writeUInt16BE(8 + payload.length, 38);
  frame.set(payload, 42);
  return frame;
}
