import type { Port } from '../../lib/ports/port.js';
import { tap } from '../../lib/ports/tap.js';
import { NativeArena } from '../../lib/xen/native/arena.js';
import { type End, NOTHING, openEnd, receive, send } from '../../worlds/port-end.js';
import { markOf } from '../marks.js';
import { MTU_MAX, makeBridge, stopLearning } from '../network.js';
import { bytesOfVnet, type Vnet } from './vnet.js';

/** A frame for the kernel, with its sender's vnet header. */
export interface Offloaded {
  readonly frame: Uint8Array;
  readonly vnet: Vnet;
}

/** Bytes of a batch of frames, with the headers of their segments less than vifd lets wait in a tap. */
const BATCH_BYTES = 200_000;
/** Bounds small segments: each costs the kernel a buffer of its own. */
const BATCH_SEGMENTS = 600;
const BATCH_FRAMES = 250;

/** A tap of the bridge. */
class BridgedTap implements AsyncDisposable {
  protected readonly end: End;
  readonly #port: Port;

  constructor(name: string, bridge: string) {
    this.#port = tap({ name, bridge, mtu: MTU_MAX, up: true });
    stopLearning(name);
    this.end = openEnd(this.#port, (bytes) => new NativeArena(bytes), NOTHING);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#port[Symbol.asyncDispose]();
  }
}

/** A tap that takes no offloads: the kernel has segmented and completed each frame that comes out. */
export class Outlet extends BridgedTap {
  /** @returns all frames that wait, in order. */
  take(): Uint8Array[] {
    const taken: Uint8Array[] = [];
    for (;;) {
      const some = receive(this.end);
      if (some.length === 0) return taken;
      for (const { frame } of some) taken.push(frame);
    }
  }
}

/** A tap into which frames are written with their vnet headers. */
export class Inlet extends BridgedTap {
  put(frames: readonly Offloaded[]): void {
    const sent = frames.map(({ frame, vnet }) => ({ frame, header: bytesOfVnet(vnet) }));
    send(this.end, sent);
  }
}

/** The kernel as a reference: frames go into one tap, over a bridge, and out of another tap, which takes no offloads. */
export class Kernel implements AsyncDisposable {
  readonly #inlet: Inlet;
  readonly #outlet: Outlet;

  constructor(name: string) {
    makeBridge(`${name}-br`);
    this.#inlet = new Inlet(`${name}-in`, `${name}-br`);
    this.#outlet = new Outlet(`${name}-out`, `${name}-br`);
  }

  /** @returns what came out of each frame, by its mark; a frame that the kernel refuses has no entry. */
  pass(frames: readonly Offloaded[]): Map<number, Uint8Array[]> {
    const out = new Map<number, Uint8Array[]>();
    for (const batch of batchesOf(frames)) {
      this.#inlet.put(batch);
      group(this.#outlet.take(), out);
    }
    return out;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inlet[Symbol.asyncDispose]();
    await this.#outlet[Symbol.asyncDispose]();
  }
}

/** Adds frames to those of the same mark. */
export function group(frames: readonly Uint8Array[], into: Map<number, Uint8Array[]>): void {
  for (const frame of frames) {
    const of = markOf(frame);
    const known = into.get(of);
    if (known === undefined) into.set(of, [frame]);
    else known.push(frame);
  }
}

/** Splits a list into batches whose segments fit into the queue of the outlet. */
export function* batchesOf<T extends Offloaded>(frames: readonly T[]): Generator<T[]> {
  let batch: T[] = [];
  let bytes = 0;
  let segments = 0;
  for (const one of frames) {
    const { frame, vnet } = one;
    const pieces = vnet.gso === 0 ? 1 : Math.ceil(frame.length / Math.max(1, vnet.segment)) + 1;
    const grown = frame.length + pieces * 256;
    const isFull =
      bytes + grown > BATCH_BYTES || segments + pieces > BATCH_SEGMENTS || batch.length >= BATCH_FRAMES;
    if (batch.length > 0 && isFull) {
      yield batch;
      batch = [];
      bytes = 0;
      segments = 0;
    }
    batch.push(one);
    bytes += grown;
    segments += pieces;
  }
  if (batch.length > 0) yield batch;
}
