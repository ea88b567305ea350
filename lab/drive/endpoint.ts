import { createConnection } from 'node:net';
import { Session } from './traffic.js';

/**
 * TCP to a guest that runs `serve`, from the domain in which it is started: `node endpoint.js ADDRESS SECONDS`. A session of lines, and
 * as many bytes as pass each way, over connections of their own; each byte that comes back is compared. Prints the counts as JSON, and
 * ends with 1 if a connection broke or a byte is wrong.
 */
const [address = '', seconds = '10'] = process.argv.slice(2);
const endMs = performance.now() + Number(seconds) * 1000;

const CHUNK_BYTES = 8192;
/** How much may be under way: an echo that is not read stops its writer. */
const AHEAD_BYTES = 256 * 1024;
const PERIOD = 251;

/** A chunk's bytes depend on where it begins: what is lost, repeated or in another order shows. */
function chunkAt(position: number): Buffer {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let i = 0; i < CHUNK_BYTES; i++) {
    const at = position + i;
    chunk[i] = (at % PERIOD) ^ ((at / CHUNK_BYTES) & 0xff);
  }
  return chunk;
}

/** @returns how many bytes went there and came back. */
function echo(): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: address, port: 7 });
    let [sent, received] = [0, 0];
    let expected = chunkAt(0);
    const fill = (): void => {
      while (performance.now() < endMs && sent - received < AHEAD_BYTES) {
        socket.write(chunkAt(sent));
        sent += CHUNK_BYTES;
      }
      if (performance.now() < endMs || received < sent) return;
      socket.destroy();
      resolve(received);
    };
    socket.on('connect', fill);
    socket.on('data', (data) => {
      for (let i = 0; i < data.length; i++, received++) {
        if (received % CHUNK_BYTES === 0) expected = chunkAt(received);
        if (data[i] === expected[received % CHUNK_BYTES]) continue;
        socket.destroy();
        reject(new Error(`byte ${received} came back as ${data[i]}`));
        return;
      }
      fill();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${received} of ${sent} bytes`)));
  });
}

const session = await Session.open({ address });
const bytes = await echo();
await session.end();
const gapMs = session.gapMs(0, performance.now());
process.stdout.write(`${JSON.stringify({ bytes, lines: session.sent, gapMs: Math.round(gapMs) })}\n`);
