import { addon, errnoName } from '../addon.js';

/** How many bytes may wait for a slow reader: 64 KiB, as in a pipe's own buffer. */
const PENDING_BYTES_MAX = 65_536;
const RETRY_MS = 50;
/** How long the end of the process waits for a reader at most. */
const END_MS = 100;
const END_STEP_MS = 5;

type WriteNow = (descriptor: number, bytes: Uint8Array) => number;

/**
 * Writes lines to stdout (1) or stderr (2), and never waits, because guests' network depends on this process. If a pipe is full, up to
 * 64 KiB wait and are written later; further lines, and lines for a reader that is gone, are lost and
 * counted. `process.stderr` would wait for a full pipe for ever, and costs a start 4 ms.
 */
export class Output implements Disposable {
  readonly #descriptor: 1 | 2;
  readonly #lostLine: (lines: number) => string;
  readonly #write: WriteNow;
  #pending: Buffer = Buffer.alloc(0);
  #lost = 0;
  #retry: NodeJS.Timeout | undefined;

  /** @param lostLine returns the line that reports how many lines were lost, which is written once there is room. */
  constructor(
    descriptor: 1 | 2,
    lostLine: (lines: number) => string,
    write: WriteNow = (fd, bytes) => addon().writeNow(fd, bytes),
  ) {
    this.#descriptor = descriptor;
    this.#lostLine = lostLine;
    this.#write = write;
  }

  /** Writes a line. @param text without a line end or any other control character. */
  line(text: string): void {
    const bytes = Buffer.from(`${text}\n`);
    if (this.#pending.length > 0 && this.#pending.length + bytes.length > PENDING_BYTES_MAX) {
      this.#lost++;
      return;
    }
    this.#pending = Buffer.concat([this.#pending, bytes]);
    // While older lines wait, the timer writes, so that lines stay in order.
    if (this.#retry === undefined) this.#drain();
  }

  /** Writes the lines that wait, and waits for a reader for at most 100 ms. */
  [Symbol.dispose](): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    for (let waitedMs = 0; !this.#flush() && waitedMs < END_MS; waitedMs += END_STEP_MS)
      Atomics.wait(sleeper, 0, 0, END_STEP_MS);
  }

  #drain(): void {
    if (this.#flush()) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#drain();
    }, RETRY_MS).unref();
  }

  /** @returns whether no line waits any more. */
  #flush(): boolean {
    while (this.#pending.length > 0) {
      const written = this.#write(this.#descriptor, this.#pending);
      if (written > 0) this.#pending = this.#pending.subarray(written);
      else if (written < 0 && errnoName(written) === 'EAGAIN') return false;
      else this.#drop();
      if (this.#pending.length === 0 && this.#lost > 0 && written > 0) this.#report();
    }
    return true;
  }

  /** Drops the lines that wait, because there is no reader or the disk is full. */
  #drop(): void {
    for (const byte of this.#pending) if (byte === NEWLINE) this.#lost++;
    this.#pending = Buffer.alloc(0);
  }

  #report(): void {
    this.#pending = Buffer.from(`${this.#lostLine(this.#lost)}\n`);
    this.#lost = 0;
  }
}

const NEWLINE = 0x0a;

/** Ends the process after its 'exit' listeners, without freeing its heap. All output must be written before. */
export function endProcess(code: number): never {
  process.emit('exit', code);
  return addon().endProcess(code);
}
