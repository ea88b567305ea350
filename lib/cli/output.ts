import { writeSync } from 'node:fs';

/**
 * Writes a line to stdout (1) or stderr (2), at once. `process.stdout` does the same, and where a pipe or the journal
 * is behind it costs a start 4 ms. A reader that is gone is no reason to end: guests' network hangs on this process.
 */
export function writeLine(fd: 1 | 2, line: string): void {
  let rest = Buffer.from(`${line}\n`);
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // Somebody made the pipe non-blocking, and it is full: node's stream waits for it.
    if (code === 'EAGAIN') (fd === 1 ? process.stdout : process.stderr).write(rest);
    else if (code !== 'EPIPE') throw error;
  }
}
