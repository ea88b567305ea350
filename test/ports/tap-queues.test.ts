import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Port } from '../../lib/ports/port.js';
import { tap } from '../../lib/ports/tap.js';
import { type End, EVERYTHING, openEnd, receive, send, tcpFrame } from '../../worlds/port-end.js';
import { arena, makeTap, withTaps } from '../tap-network.js';

function openQueues(port: Port, count: number): End[] {
  return Array.from({ length: count }, (_, index) =>
    openEnd(port, arena, { ...EVERYTHING, queue: { index, count } }),
  );
}

/** How many are attached: flows are spread over these. */
function attached(name: string): number {
  return readdirSync(`/sys/class/net/${name}/queues`).filter((queue) => queue.startsWith('tx')).length;
}

/** Returns a TCP frame of flow `port`, in one direction or `back`. */
function flow(port: number, back = false): Uint8Array {
  const frame = tcpFrame(100, 5);
  const [source, destination] = back ? [80, port] : [port, 80];
  frame.set([source >> 8, source & 0xff, destination >> 8, destination & 0xff], 34);
  if (!back) return frame;
  const addresses = frame.slice(26, 34);
  frame.set([...addresses.subarray(4), ...addresses.subarray(0, 4)], 26);
  return frame;
}

/** What came in each of them within a while: the flows' ports. */
async function arrived(queues: readonly End[], frames: number): Promise<number[][]> {
  const came: number[][] = queues.map(() => []);
  for (let round = 0; round < 400 && came.flat().length < frames; round++) {
    queues.forEach((queue, index) => {
      for (const { frame } of receive(queue)) came[index].push((frame[36] << 8) | frame[37]);
    });
    await sleep(5);
  }
  return came;
}

function queueTests(): void {
  it('has those that are used attached, and no others', () => {
    const port = makeTap({ name: 'tq', multiQueue: true, up: true });
    expect(port.queuesMax).toBeGreaterThan(8);
    expect(attached('tq')).toBe(1);
    const ends = openQueues(port, 3);
    expect(attached('tq')).toBe(3);
    for (const { io } of ends) io.close();
    // As after a guest that has gone: the next one decides how many queues it has.
    expect(attached('tq')).toBe(3);
    const [end] = openQueues(port, 1);
    expect(attached('tq')).toBe(1);
    expect(receive(end)).toEqual([]);
  });

  it("gives a flow's frames to the queue that its own were sent by", async () => {
    const queues = openQueues(makeTap({ name: 'tq', multiQueue: true, up: true, bridge: 'br0' }), 4);
    const peer = openEnd(makeTap({ name: 'tp', up: true, bridge: 'br0' }), arena);
    const flows = Array.from({ length: 32 }, (_, i) => 1000 + i);
    // The kernel learns of a flow when it is used once more.
    for (let again = 0; again < 2; again++)
      queues.forEach((queue, index) => {
        send(
          queue,
          flows.filter((port) => port % 4 === index).map((port) => ({ frame: flow(port) })),
        );
      });
    await arrived([peer], 64);
    send(
      peer,
      flows.map((port) => ({ frame: flow(port, true) })),
    );
    const came = await arrived(queues, 32);
    expect(came.map((list) => list.sort())).toEqual(
      [0, 1, 2, 3].map((index) => flows.filter((port) => port % 4 === index)),
    );
  });

  it('loses no flow to queues that are not used any more', async () => {
    const port = makeTap({ name: 'tq', multiQueue: true, up: true, bridge: 'br0' });
    const peer = openEnd(makeTap({ name: 'tp', up: true, bridge: 'br0' }), arena);
    for (const { io } of openQueues(port, 4)) io.close();
    const [end] = openQueues(port, 1);
    const flows = Array.from({ length: 48 }, (_, i) => 2000 + i);
    send(
      peer,
      flows.map((flowPort) => ({ frame: flow(flowPort, true) })),
    );
    expect((await arrived([end], 48))[0].sort()).toEqual(flows);
  });

  it.each([
    ['with one queue is taken over by whoever wants several', false, true, 1],
    ['with several queues is taken over by whoever wants one', true, false, 256],
  ])('a persistent device %s', async (_what, first, second, queuesMax) => {
    await makeTap({ name: 'tq', persist: true, multiQueue: first })[Symbol.asyncDispose]();
    const port = makeTap({ name: 'tq', multiQueue: second });
    expect(port.queuesMax).toBe(queuesMax);
    await port.remove?.();
  });

  it('reports it when another process has a device with several queues', () => {
    makeTap({ name: 'tq', multiQueue: true });
    expect(() => tap({ name: 'tq', multiQueue: true })).toThrow(
      expect.objectContaining({ code: 'ERR_TAP', errno: 'EBUSY' }),
    );
    expect(attached('tq')).toBe(1);
  });
}

withTaps(import.meta.url, () => {
  describe('a tap with several queues', queueTests);
});
