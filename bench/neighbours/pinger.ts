/**
 * Pings guests as a process with nothing else to do: `pinger.js ADDRESS`. Told `{ count, everyMs }` by its parent, it sends so many
 * datagrams to the victim at that interval, and replies with the round trips.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PingOrder, RoundTrips } from './messages.js';

const [ECHO_PORT, DISCARD_PORT] = [7, 9];
/** Small, but not so small that Ethernet pads it: a frame of 60 bytes. */
const PAYLOAD_BYTES = 18;
/** A reply that takes longer is a lost one. */
const PATIENCE_MS = 2000;

const [address = ''] = process.argv.slice(2);
const socket = createSocket('udp4');
// Connected: it sends at once, without a lookup of the address in between.
socket.connect(ECHO_PORT, address);
await once(socket, 'connect');
const others = createSocket('udp4');

/** When each ping of this order was sent and came back, by its number; 0: not yet. */
let sentMs = new Float64Array();
let cameMs = new Float64Array();
let first = 0;
let next = 0;
let replies = 0;

socket.on('message', (reply) => {
  const nowMs = performance.now();
  const ping = reply.readUInt32BE(0) - first;
  if (ping < 0 || ping >= cameMs.length || cameMs[ping] !== 0) return;
  cameMs[ping] = nowMs;
  replies += 1;
});

async function ping({ count, everyMs, besides }: PingOrder): Promise<RoundTrips> {
  sentMs = new Float64Array(count);
  cameMs = new Float64Array(count);
  first = next;
  replies = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const payload = Buffer.alloc(PAYLOAD_BYTES);
      payload.writeUInt32BE(next);
      sentMs[next - first] = performance.now();
      socket.send(payload);
      next += 1;
      for (let i = 0; besides !== undefined && i < besides.datagrams; i++)
        others.send(payload, DISCARD_PORT, besides.address);
      if (next - first < count) return;
      clearInterval(timer);
      resolve();
    }, everyMs);
  });
  const deadline = performance.now() + PATIENCE_MS;
  while (replies < count && performance.now() < deadline) await sleep(everyMs);
  const rttMs = Array.from(sentMs, (sent, i) => cameMs[i] - sent).filter((_, i) => cameMs[i] !== 0);
  return { rttMs, lost: count - replies };
}

process.on('message', async (order) => process.send?.(await ping(order as PingOrder)));
process.send?.({ ready: true });
process.on('disconnect', () => process.exit());
