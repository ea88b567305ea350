import { createConnection } from 'node:net';
import { sleep } from './process.js';
import { Session } from './traffic.js';

/** The traffic over the two connections of `exchange`. */
export interface Exchanged {
  /** Bytes that went to the guest and came back. */
  readonly bytes: number;
  readonly lines: number;
  /** The longest time without a line. */
  readonly gapMs: number;
}

const CHUNK_BYTES = 8192;
/** How many bytes may be under way: an echo that is not read stops its writer. */
const AHEAD_BYTES = 256 * 1024;
const PERIOD = 251;
const PATIENCE_MS = 30_000;
const LOOK_MS = 500;
/** How long an exchange lasts before and after `then`. */
const BEFORE_MS = 3000;
const AFTER_MS = 4000;

/**
 * Exchanges TCP with a guest that runs `serve`, until `isOver`: lines over one connection, and over another as many bytes as it carries.
 * Compares each byte that comes back.
 * @param patienceMs how long the last lines and bytes may take.
 * @throws if a connection broke, a line is missing or a byte is wrong.
 */
export async function exchange(
  address: string,
  isOver: () => boolean,
  patienceMs = PATIENCE_MS,
): Promise<Exchanged> {
  const began = performance.now();
  using session = await Session.open({ address });
  const bytes = await echo(address, isOver, patienceMs);
  await session.end(patienceMs);
  return { bytes, lines: session.sent, gapMs: Math.round(session.gapMs(began, performance.now())) };
}

/**
 * Runs `exchange` with all addresses at once, while `then` runs.
 * @param note gets a sentence about the traffic of each.
 */
export async function exchangeDuring(
  addresses: readonly string[],
  note: (text: string) => void,
  then: () => Promise<void>,
  patienceMs?: number,
): Promise<void> {
  let isOver = false;
  const exchanges = Promise.all(addresses.map((address) => exchange(address, () => isOver, patienceMs)));
  // It is awaited below; until then a rejection must not count as unhandled.
  exchanges.catch(() => undefined);
  try {
    await sleep(BEFORE_MS);
    await then();
    await sleep(AFTER_MS);
  } finally {
    isOver = true;
  }
  for (const [i, { bytes, lines, gapMs }] of (await exchanges).entries()) {
    const passed = `${(bytes / 1e6).toFixed(1)} MB there and back, ${lines} lines, longest gap ${gapMs} ms`;
    note(`TCP to ${addresses[i]}: ${passed}`);
    if (bytes === 0 || lines === 0) throw new Error(`nothing passed to ${addresses[i]}`);
  }
}

/** @returns how many bytes went there and came back. */
async function echo(address: string, isOver: () => boolean, patienceMs: number): Promise<number> {
  const socket = createConnection({ host: address, port: 7 });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      let [sent, received] = [0, 0];
      let expected = chunkAt(0);
      let endMs = Number.POSITIVE_INFINITY;
      const fill = (): void => {
        while (!isOver() && sent - received < AHEAD_BYTES) {
          socket.write(chunkAt(sent));
          sent += CHUNK_BYTES;
        }
        if (isOver() && received === sent) resolve(received);
      };
      const look = (): void => {
        if (isOver()) endMs = Math.min(endMs, performance.now() + patienceMs);
        if (performance.now() > endMs) reject(new Error(`${address} gave back ${received} of ${sent} bytes`));
      };
      timer = setInterval(look, LOOK_MS);
      socket.on('connect', fill);
      socket.on('data', (data) => {
        for (let i = 0; i < data.length; i++, received++) {
          if (received % CHUNK_BYTES === 0) expected = chunkAt(received);
          if (data[i] === expected[received % CHUNK_BYTES]) continue;
          reject(new Error(`byte ${received} from ${address} came back as ${data[i]}`));
          return;
        }
        fill();
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error(`closed by ${address} after ${received} of ${sent} bytes`)));
    });
  } finally {
    clearInterval(timer);
    socket.destroy();
  }
}

/** @returns a chunk whose bytes depend on its position, so that lost, repeated and reordered bytes show. */
function chunkAt(position: number): Buffer {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let i = 0; i < CHUNK_BYTES; i++) {
    const at = position + i;
    chunk[i] = (at % PERIOD) ^ ((at / CHUNK_BYTES) & 0xff);
  }
  return chunk;
}
