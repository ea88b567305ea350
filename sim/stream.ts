import { VNET_FLAG_NEEDS_CSUM, vnetWordOfBytes } from '../lib/protocol/vnet.js';
import { TrafficFrames } from '../lib/testing/netfront/index.js';
import type { TrafficTag } from '../lib/testing/netfront/traffic-frames.js';

const known = new Map<string, TrafficFrames>();

/** Frames of a seed, made once for all runs. */
export function framesOf(seed: number, mtuBytes: number): TrafficFrames {
  const key = `${seed} ${mtuBytes}`;
  const frames = known.get(key) ?? new TrafficFrames(seed, mtuBytes);
  known.set(key, frames);
  return frames;
}

/** The frames of one sender: they are numbered, and all their bytes are known. */
export class Stream {
  readonly name: string;
  /** Whether its frames come by the queues that their receiver chose, in order within each. */
  readonly spread: boolean;
  readonly seed: number;
  /** Frames out of order, or different from what a hook made of them. */
  readonly faults: string[] = [];
  /** Frames with other bytes than were sent. */
  readonly damaged: string[] = [];
  /** Frames that came twice, of a stream that is spread. */
  readonly repeated: number[] = [];
  readonly #frames: TrafficFrames;
  /** By number: the process in which it came first, and the one in which it left its sender or was reported as sent. */
  readonly #cameIn: number[] = [];
  readonly #dueIn: number[] = [];
  readonly #dueAt: number[] = [];
  readonly #excused = new Set<number>();
  /** By number: the length that a hook gave it; 0 is a frame that a hook dropped. */
  readonly #hooked = new Map<number, number>();
  readonly #repeats: number[] = [];
  /** Frames below this number were sent before the connection. */
  #forbidden = 0;
  /** The process in which frames come now. `#last` and `#before`: the last frame in it, and the highest before it. */
  #process = -1;
  /** By queue. */
  readonly #last: number[] = [];
  #before = -1;
  #highest = -1;

  constructor(options: { name: string; seed: number; mtuBytes: number; spread?: boolean }) {
    this.name = options.name;
    this.spread = options.spread ?? false;
    this.seed = options.seed;
    this.#frames = framesOf(options.seed, options.mtuBytes);
  }

  /** Frames that came, each once. */
  get delivered(): number {
    return this.#cameIn.filter((process) => process !== undefined).length;
  }

  /** Records that the frame must come from now on, or must have come. @param step of the process. */
  due(sequence: number, process: number, step = 0): void {
    this.#dueIn[sequence] ??= process;
    this.#dueAt[sequence] ??= step;
  }

  /** Returns the step of its process at which the frame became due. */
  dueAt(sequence: number): number {
    return this.#dueAt[sequence] ?? 0;
  }

  /** Records that the frame need not come, as the port or the guest has reported. */
  excuse(sequence: number): void {
    this.#excused.add(sequence);
  }

  excuseBelow(sequence: number): void {
    for (let i = 0; i < sequence; i++) this.excuse(i);
  }

  /** Records that none of these may come from now on: they were sent before the connection. */
  forbidBelow(sequence: number): void {
    this.#forbidden = sequence;
  }

  hooked(sequence: number, length: number): void {
    this.#hooked.set(sequence, length);
  }

  /** @param header the frame's virtio_net_hdr. @param queue that it came by. */
  take(frame: Uint8Array, header: Uint8Array, tag: TrafficTag, process: number, queue = 0): void {
    const { sequence } = tag;
    const { length } = frame;
    const partial = (vnetWordOfBytes(header, 0, 0) & VNET_FLAG_NEEDS_CSUM) !== 0;
    const difference = this.#frames.difference(frame, 0, length, tag, partial);
    if (difference !== undefined) {
      this.damaged.push(`${this.name}: frame ${sequence} is damaged: ${difference}`);
    }
    if (sequence < this.#forbidden) this.#fault(`frame ${sequence} was sent before the connection, and came`);
    const hooked = this.#hooked.get(sequence);
    if (hooked !== undefined && hooked !== length) {
      this.#fault(`frame ${sequence} has ${length} bytes, the hook left ${hooked}`);
    }
    this.#order(sequence, process, queue);
  }

  /** Within a process frames come in order. A frame that is not above the highest of earlier processes is a repeat. */
  #order(sequence: number, process: number, queue: number): void {
    if (process !== this.#process) {
      this.#process = process;
      this.#last.length = 0;
      this.#before = this.#highest;
    }
    // Each of several queues has an order of its own, and may be behind.
    const repeats = this.spread ? this.#cameIn[sequence] !== undefined : sequence <= this.#before;
    const last = this.#last[queue] ?? -1;
    if (repeats) this.#repeats[process] = this.repeatsIn(process) + 1;
    if (repeats && this.spread) this.repeated.push(sequence);
    if (sequence <= last && !(this.spread && repeats))
      this.#fault(`frame ${sequence} came after ${last} in one process`);
    this.#last[queue] = sequence;
    this.#highest = Math.max(this.#highest, sequence);
    this.#cameIn[sequence] ??= process;
  }

  /** @returns whether the frame was read in one of these processes or before, and came first after it. */
  wasPendingAfter(sequence: number, processes: readonly number[]): boolean {
    return processes.some((process) => this.#dueIn[sequence] <= process && process < this.#cameIn[sequence]);
  }

  /** Returns the frames that came in a process and were repeats. */
  repeatsIn(process: number): number {
    return this.#repeats[process] ?? 0;
  }

  /** Returns the frames that were due in a process and never came, without a reason that excuses it. */
  lostIn(process: number): number[] {
    const lost: number[] = [];
    this.#dueIn.forEach((due, sequence) => {
      if (due === process && this.#cameIn[sequence] === undefined && !this.#isExcused(sequence))
        lost.push(sequence);
    });
    return lost;
  }

  #isExcused(sequence: number): boolean {
    return this.#excused.has(sequence) || this.#hooked.get(sequence) === 0;
  }

  #fault(what: string): void {
    this.faults.push(`${this.name}: ${what}`);
  }
}
