import { VifdError } from '../errors.js';
import { VNET_HEADER_BYTES } from '../protocol/vnet.js';
import { printable } from '../text.js';
import {
  FRAME_BYTES_MAX,
  FRAME_LENGTH,
  FRAME_OFFSET,
  FRAME_STATUS,
  FRAMES_END,
  FRAMES_START,
  FrameBatch,
  frameAt,
} from './frame-batch.js';
import { type FrameOffload, readOffload, requireFrame, writeOffload } from './offload.js';
import { pair } from './pair.js';
import type { Port, PortBatches, PortIo, PortOptions, PortTrouble } from './port.js';

/** Takes frames: a `FramePort`, for the guest that it is the port of, or a `Vif`, for its guest. */
export interface FrameReceiver {
  /**
   * Copies a frame, from the Ethernet header on, for the receiver; 14 to 65553 bytes.
   * @param offload the work that is left to do, for a frame with a partial checksum or of several segments. vifd does it where the guest cannot.
   *   Default: none is left, and the guest checks the frame's checksums itself.
   * @returns false if the frame was not taken, because no guest is connected or because too many bytes wait (about a megabyte).
   * @throws VifdError ERR_ARGUMENT for anything but a Uint8Array of that length.
   */
  send(frame: Uint8Array, offload?: Partial<FrameOffload>): boolean;
}

/** Options of `framePort`. */
export interface FramePortOptions {
  /** The port's name in `vifd show` and in messages; default 'frames'. */
  readonly name?: string;
  /**
   * Called with each frame of the guest, in order, soon after the guest has sent it. The bytes change when it has returned: copy what is to
   * stay. A frame for which it throws, or rejects, is lost for the program; the vif then has the fault ERR_HOOK until a later batch of frames
   * succeeds, or a later frame by a promise. It is reported once a second at most.
   * @param offload the work that is left to do; none unless `offloads` is set.
   */
  readonly onFrame: (frame: Uint8Array, offload: FrameOffload) => void;
  /**
   * Whether frames come as the guest has sent them: of up to 64 KiB, with partial checksums. Default false: each frame fits the guest's MTU,
   * and its checksums are complete.
   */
  readonly offloads?: boolean;
}

/** A port whose frames a program handles one by one. */
export interface FramePort extends Port, FrameReceiver {
  readonly dropped: number;
}

/** Where the one frame of a batch lies that is sent: behind its vnet header, at a multiple of 2. */
const SENT_AT = 16;
const SENT_BYTES = (SENT_AT + FRAME_BYTES_MAX + 3) & ~3;
/** Room for a batch of small frames; the longest frame fits. */
const READ_BYTES = 256 << 10;
const READ_FRAMES = 64;
/** More batches than the pair's queue has room for. */
const LAST_ROUNDS_MAX = 4096;
/** The shortest time between two reports of an `onFrame` that throws: a guest may cause the errors. */
const REPORTED_AGAIN_MS = 1000;

/**
 * Makes a port whose frames a program handles one by one: `onFrame` gets those of the guest, and `send` sends to the guest. It copies each frame
 * twice. It may be the port of one vif at a time, and again after that vif is gone.
 */
export function framePort(options: FramePortOptions): FramePort {
  return new PairedFramePort(options);
}

/** One end of a pair for the vif, and the other for the program, as long as the port is open. */
class PairedFramePort implements FramePort {
  readonly name: string;
  readonly writesMapped = false;
  readonly #options: FramePortOptions;
  readonly #sent = new FrameBatch(memory(SENT_BYTES), 1);
  readonly #got = new FrameBatch(memory(READ_BYTES), READ_FRAMES);
  #open: { readonly outer: Port; readonly inner: PortIo } | undefined;
  #linkUp = true;
  #dropped = 0;
  #onTrouble: ((trouble: PortTrouble | undefined) => void) | undefined;
  #inTrouble = false;
  #isDelivering = false;
  #reportedMs = Number.NEGATIVE_INFINITY;

  constructor(options: FramePortOptions) {
    if (typeof options.onFrame !== 'function')
      throw new VifdError(
        'ERR_ARGUMENT',
        '`framePort` needs `onFrame`: give a function that gets each frame.',
      );
    this.#options = options;
    this.name = options.name ?? 'frames';
    this.#got.block[FRAMES_START] = 0;
    this.#got.block[FRAMES_END] = READ_BYTES;
  }

  get dropped(): number {
    return this.#dropped;
  }

  send(frame: Uint8Array, offload?: Partial<FrameOffload>): boolean {
    requireFrame(frame);
    if (this.#open === undefined || !this.#linkUp) return false;
    const { block, arena } = this.#sent;
    writeOffload(arena.bytes, SENT_AT - VNET_HEADER_BYTES, offload);
    arena.bytes.set(frame, SENT_AT);
    const at = frameAt(0);
    block[at + FRAME_OFFSET] = SENT_AT;
    block[at + FRAME_LENGTH] = frame.length;
    this.#sent.count = 1;
    const isTaken = this.#open.inner.write() === 1 && block[at + FRAME_STATUS] === 0;
    if (!isTaken) this.#dropped++;
    return isTaken;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    if (this.#open !== undefined)
      throw new VifdError('ERR_STATE', `Port ${this.name} is in use: a frame port serves one vif at a time.`);
    const [outer, other] = pair();
    outer.setCarrier?.(this.#linkUp);
    const io = outer.open(batches, options);
    const takes = this.#options.offloads === true;
    const inner = other.open(
      { writes: this.#sent, reads: this.#got },
      {
        checksumV4: takes,
        checksumV6: takes,
        gsoV4: takes,
        gsoV6: takes,
        onReadable: () => {
          this.#deliver(inner);
          // `onFrame` has had the guest detached.
          if (this.#open?.inner !== inner) this.#deliverLast(inner);
        },
      },
    );
    this.#open = { outer, inner };
    inner.wantReadable();
    const close = (): void => {
      if (this.#open?.inner !== inner) return;
      this.#open = undefined;
      io.close();
      // In the middle of a batch, the rest of it comes first.
      if (!this.#isDelivering) this.#deliverLast(inner);
    };
    return { write: () => io.write(), read: () => io.read(), wantReadable: () => io.wantReadable(), close };
  }

  setCarrier(on: boolean): boolean {
    this.#linkUp = on;
    this.#open?.outer.setCarrier?.(on);
    return true;
  }

  follow(listener: (trouble: PortTrouble | undefined) => void): Disposable {
    this.#onTrouble = listener;
    // This listener has heard of none, and is to hear of the next.
    this.#inTrouble = false;
    this.#reportedMs = Number.NEGATIVE_INFINITY;
    return {
      [Symbol.dispose]: () => {
        if (this.#onTrouble === listener) this.#onTrouble = undefined;
      },
    };
  }

  /** Leaves the port as it is, since nothing of it outlives the process: a vif that is opened again opens it again. */
  async [Symbol.asyncDispose](): Promise<void> {}

  /** Passes on what waits of a connection that has ended: the guest has responses for these frames. */
  #deliverLast(inner: PortIo): void {
    for (let round = 0; round < LAST_ROUNDS_MAX && this.#deliver(inner) > 0; round++);
    inner.close();
  }

  /** Passes a batch of the guest's frames to the program. @returns how many. */
  #deliver(inner: PortIo): number {
    const { block, arena } = this.#got;
    const count = inner.read();
    let isKnown = true;
    this.#isDelivering = true;
    for (let i = 0; i < count; i++) {
      const at = frameAt(i);
      const offset = block[at + FRAME_OFFSET];
      const frame = arena.bytes.subarray(offset, offset + block[at + FRAME_LENGTH]);
      try {
        const result: unknown = this.#options.onFrame(
          frame,
          readOffload(arena.bytes, offset - VNET_HEADER_BYTES),
        );
        if (!(result instanceof Promise)) continue;
        isKnown = false;
        result.then(
          () => this.#worked(),
          (error: unknown) => this.#report(error),
        );
      } catch (error) {
        isKnown = false;
        this.#report(error);
      }
    }
    this.#isDelivering = false;
    if (isKnown && count > 0) this.#worked();
    // In a microtask, so the guest's other frames come before the next turn of the event loop.
    if (this.#open?.inner === inner) inner.wantReadable();
    return count;
  }

  #worked(): void {
    if (!this.#inTrouble) return;
    this.#inTrouble = false;
    this.#onTrouble?.(undefined);
  }

  #report(cause: unknown): void {
    const now = performance.now();
    if (this.#inTrouble || now - this.#reportedMs < REPORTED_AGAIN_MS) return;
    this.#inTrouble = true;
    this.#reportedMs = now;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `\`onFrame\` of port ${this.name} threw: ${printable(reason.slice(0, 200))}. The frame is lost for the program.`;
    this.#onTrouble?.({ error: new VifdError('ERR_HOOK', message, { cause }), lost: false });
  }
}

function memory(bytes: number): { readonly bytes: Uint8Array; readonly u32: Uint32Array } {
  const buffer = new ArrayBuffer(bytes);
  return { bytes: new Uint8Array(buffer), u32: new Uint32Array(buffer) };
}
