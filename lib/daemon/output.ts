import { addon, errnoName } from '../addon.js';

/** What a reader may be behind with: 64 KiB, as a pipe's own buffer. */
const PENDING_BYTES_MAX = 65_536;
const RETRY_MS = 50;
/** The end of the process waits this long for a reader, and no longer. */
const END_MS = 100;
const END_STEP_MS = 5;

type WriteNow = (descriptor: number, bytes: Uint8Array) => number;

/**
 * Writes lines to stdout (1) or stderr (2), and never waits: guests' network hangs on this process. What a full pipe does not
 * take at once is kept, 64 KiB at most, and tried again; further lines, and those for a reader that is gone, are lost and
 * counted. `process.stderr` would wait for a full pipe for ever, and costs a start 4 ms.
 */
export class Output implements Disposable {
  readonly #descriptor: 1 | 2;
  readonly #lostLine: (lines: number) => string;
  readonly #write: WriteNow;
  #pending: Buffer = Buffer.alloc(0);
  #lost = 0;
  #retry: NodeJS.Timeout | undefined;

  /** @param lostLine the line that tells how many lines were lost, written once there is room. */
  constructor(
    descriptor: 1 | 2,
    lostLine: (lines: number) => string,
    write: WriteNow = (fd, bytes) => addon().writeNow(fd, bytes),
  ) {
    this.#descriptor = descriptor;
    this.#lostLine = lostLine;
    this.#write = write;
  }

  /** @param text without a line's end, and without any other control character. */
  line(text: string): void {
    const bytes = Buffer.from(`${text}\n`);
    if (this.#pending.length > 0 && this.#pending.length + bytes.length > PENDING_BYTES_MAX) {
      this.#lost++;
      return;
    }
    this.#pending = Buffer.concat([this.#pending, bytes]);
    // In order: while older lines wait, the timer writes.
    if (this.#retry === undefined) this.#drain();
  }

  /** Writes what is pending, and waits 100 ms for a reader at most. */
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

  /** @returns whether nothing is pending any more. */
  #flush(): boolean {
    while (this.#pending.length > 0) {
      const written = this.#write(this.#descriptor, this.#pending);
      if (written > 0) this.#pending = this.#pending.subarray(written);
      else if (written < 0 && errnoName(written) === 'EAGAIN') return false;
      else this.#drop();
      if (this.#pending.length === 0 && this.#lost > 0 && written > 0) this.#tell();
    }
    return true;
  }

  /** There is no reader, or the disk behind a file is full. */
  #drop(): void {
    for (const byte of this.#pending) if (byte === NEWLINE) this.#lost++;
    this.#pending = Buffer.alloc(0);
  }

  #tell(): void {
    this.#pending = Buffer.from(`${this.#lostLine(this.#lost)}\n`);
    this.#lost = 0;
  }
}

const NEWLINE = 0x0a;

/** Ends the process once its 'exit' listeners have run, without taking its heap apart. All must be written. */
export function endProcess(code: number): never {
  process.emit('exit', code);
  return addon().endProcess(code);
}
