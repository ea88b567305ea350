/**
 * Pings guests, as a process with nothing else to do: carries out each PingOrder of its parent, and replies with RoundTrips.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PingOrder, RoundTrips } from './messages.js';

const [ECHO_PORT, DISCARD_PORT] = [7, 9];
/** Ethernet pads what is shorter: a frame of 60 bytes. */
const PAYLOAD_BYTES = 18;
/** A ping without a reply after this time is lost. */
const PATIENCE_MS = 2000;

async function ping({ address, count, everyMs, besides }: PingOrder): Promise<RoundTrips> {
  // When each ping was sent and came back; 0: not yet.
  const sentMs = new Float64Array(count);
  const cameMs = new Float64Array(count);
  let [sent, replies] = [0, 0];
  // A socket for each order: replies to an earlier one come to another port.
  const socket = createSocket('udp4').on('message', (reply) => {
    const nowMs = performance.now();
    const number = reply.readUInt32BE(0);
    if (number >= sent || cameMs[number] !== 0) return;
    cameMs[number] = nowMs;
    replies += 1;
  });
  // Connected, it sends without a lookup of the address in between.
  socket.connect(ECHO_PORT, address);
  await once(socket, 'connect');
  const others = createSocket('udp4');
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const payload = Buffer.alloc(PAYLOAD_BYTES);
      payload.writeUInt32BE(sent);
      sentMs[sent] = performance.now();
      socket.send(payload);
      sent += 1;
      for (let i = 0; besides !== undefined && i < besides.datagrams; i++)
        others.send(payload, DISCARD_PORT, besides.address);
      if (sent < count) return;
      clearInterval(timer);
      resolve();
    }, everyMs);
  });
  const deadline = performance.now() + PATIENCE_MS;
  while (replies < count && performance.now() < deadline) await sleep(everyMs);
  for (const done of [socket, others]) done.close();
  const rttMs = Array.from(sentMs, (atMs, i) => cameMs[i] - atMs).filter((_, i) => cameMs[i] !== 0);
  return { rttMs, lost: count - replies };
}

process.on('message', async (order) => process.send?.(await ping(order as PingOrder)));
process.on('disconnect', () => process.exit());
process.send?.({ ready: true });
