// Writes what a guest sends and receives into a pcapng file for Wireshark: node capture.js vif7.0 FILE
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { type CapturedFrame, type Clock, Netback, openXen, tap, type Vif, type VifId } from 'vifd';

/** The most bytes of each frame that are written. */
const SNAP_BYTES = 256;

/** A block of pcapng (draft-ietf-opsawg-pcapng): type, length, body, length. A body is a multiple of 4 bytes long. */
function block(type: number, body: Buffer): Buffer {
  const ends = Buffer.alloc(12);
  for (const [i, word] of [type, body.length + 12, body.length + 12].entries())
    ends.writeUInt32LE(word, i * 4);
  return Buffer.concat([ends.subarray(0, 8), body, ends.subarray(8)]);
}

/** The section's header (version 1.0, length unknown) and the interface's: Ethernet, times in microseconds. */
const HEADERS = Buffer.concat([
  block(0x0a0d0d0a, Buffer.from('4d3c2b1a01000000ffffffffffffffff', 'hex')),
  block(1, Buffer.from([1, 0, 0, 0, SNAP_BYTES & 0xff, SNAP_BYTES >>> 8, 0, 0])),
]);

function packet({ bytes, direction, timeMs }: CapturedFrame, startMs: number): Buffer {
  const shown = bytes.subarray(0, SNAP_BYTES);
  const body = Buffer.alloc(20 + Math.ceil(shown.length / 4) * 4 + 12);
  const time = Math.round((startMs + timeMs) * 1000);
  const words = [0, Math.floor(time / 2 ** 32), time % 2 ** 32, shown.length, bytes.length];
  for (const [i, word] of words.entries()) body.writeUInt32LE(word, i * 4);
  body.set(shown, 20);
  // The option epb_flags: inbound (1) is what the host gets from the guest. Then the end of the options.
  body.writeUInt32LE(0x00040002, body.length - 12);
  body.writeUInt32LE(direction === 'from-guest' ? 1 : 2, body.length - 8);
  return block(6, body);
}

/** Captures a vif until `signal` aborts. @returns how many frames the file lacks, because the disk was slower than the guest. */
export async function capture(vif: Vif, clock: Clock, file: Writable, signal: AbortSignal): Promise<number> {
  file.write(HEADERS);
  const startMs = Date.now() - clock.now(); // `timeMs` is of this clock.
  const frames = vif.frames({ signal });
  for await (const frame of frames) if (!file.write(packet(frame, startMs))) await once(file, 'drain');
  return frames.missed;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [id, path] = process.argv.slice(2) as [VifId, string];
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  await using xen = await openXen();
  const port = (of: { id: VifId }) => tap({ name: of.id, persist: true, up: true });
  await using netback = await Netback.open({ xen, port });
  const vif = netback.vifs.get(id);
  if (vif === undefined) throw new Error(`${id} is not served.`);
  const file = createWriteStream(path);
  console.log(`${await capture(vif, xen.clock, file, stop.signal)} frames missed`);
  await once(file.end(), 'finish');
}
