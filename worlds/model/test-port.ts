import { FRAME_FIRST_OP, FRAME_OP_COUNT, frameAt } from '../../lib/ports/frame-batch.js';
import type { PortBatches, PortIo, PortOptions } from '../../lib/ports/port.js';
import type { ModelGrantBatch } from '../../lib/testing/model/batch.js';
import { FramePort } from '../../lib/testing/netfront/index.js';
import { type GrantBatch, OP_HEAD, OP_WORDS, OPS_HEADER_WORDS } from '../../lib/xen/seam.js';

/** A port that records the frames that are written into it, and provides those that the test puts in. */
export class TestPort extends FramePort {
  override readonly writesMapped: boolean;
  readonly written: Uint8Array[] = [];
  readonly headers: Uint8Array[] = [];
  /** The batches of the last `open`. */
  options: PortOptions | undefined;
  removed = false;
  /** Each change of the link. */
  readonly carriers: boolean[] = [];
  opens = 0;
  /** Runs before each write. */
  onWrite: () => void = () => {};

  /** @param writesMapped takes bytes out of the guest's pages, as a tap does. On the model. */
  constructor(writesMapped = false) {
    super({
      name: 'test',
      onWrite: () => this.onWrite(),
      onFrame: (frame, header) => {
        this.written.push(frame.slice());
        this.headers.push(header.slice());
      },
    });
    this.writesMapped = writesMapped;
  }

  /** A frame for the guest; `header` is the vnet header's three words. */
  put(frame: Uint8Array, header?: readonly number[]): void {
    this.send(frame, header && new Uint8Array(Uint32Array.from(header).buffer));
  }

  override open(batches: PortBatches, options: PortOptions): PortIo {
    this.options = options;
    this.opens++;
    return super.open(batches, options);
  }

  setCarrier(on: boolean): boolean {
    this.carriers.push(on);
    return true;
  }

  async remove(): Promise<void> {
    this.removed = true;
  }

  protected override frameOf(batches: PortBatches, index: number): Uint8Array {
    const { block } = batches.writes;
    const [first, count] = [block[frameAt(index) + FRAME_FIRST_OP], block[frameAt(index) + FRAME_OP_COUNT]];
    const frame = super.frameOf(batches, index);
    return count === 0 || frame.length === 0 ? frame : gather(frame, batches.mapped, first, count);
  }
}

/** The bytes of a frame whose operations say how many are in `arena`, where it begins. */
function gather(arena: Uint8Array, mapped: GrantBatch | undefined, first: number, count: number): Uint8Array {
  const batch = mapped as ModelGrantBatch;
  let copied = 0;
  const rests: Uint8Array[] = [];
  for (let op = first; op < first + count; op++) {
    const head = batch.ops[OPS_HEADER_WORDS + op * OP_WORDS + OP_HEAD]!;
    const page = batch.mappedBytes(op);
    if (head > 0 && rests.length > 0) throw new Error('a head behind bytes that were not copied');
    copied += head;
    if (head < page.length) rests.push(page.subarray(head));
  }
  return Uint8Array.from(Buffer.concat([arena.subarray(0, copied), ...rests]));
}
