import { beforeEach, describe, expect, it } from 'vitest';
import { ManyQueues, TrafficPort } from '../../lib/netfront/index.js';
import { readTag } from '../../lib/netfront/traffic-frames.js';
import { SteeredPort } from '../../lib/ports/steered.js';
import { ModelArena } from '../../lib/xen/model/memory.js';
import { type End, EVERYTHING, openEnd, receive } from './frames.js';

const arena = (bytes: number) => new ModelArena(bytes);
const QUEUES = 3;

describe('a port whose frames go to the queues that somebody else chooses', () => {
  let behind: TrafficPort[];
  let ends: End[];
  let dropped: number[];
  /** Of a frame, by the port's queue that it came in and its number there. */
  let choose: (from: number, sequence: number) => number;
  beforeEach(() => {
    behind = Array.from(
      { length: QUEUES },
      (_, seed) => new TrafficPort({ generate: { seed, sizes: [1000], frames: 0 }, defer: (run) => run() }),
    );
    dropped = [0, 0, 0];
    const tag = { seed: 0, sequence: 0 };
    const port = new SteeredPort(new ManyQueues(behind), arena, {
      queueOf: (bytes, start, length) => {
        readTag(bytes, start, length, tag);
        return choose(tag.seed, tag.sequence);
      },
      onDropped: (queue) => dropped[queue]++,
    });
    ends = Array.from({ length: QUEUES }, (_, index) =>
      openEnd(port, arena, { ...EVERYTHING, queue: { index, count: QUEUES } }),
    );
  });

  /** All that comes in a queue now: [the port's queue, number]. */
  function drain(queue: number): [number, number][] {
    const came: [number, number][] = [];
    for (let more = true; more; ) {
      const frames = receive(ends[queue]);
      for (const { frame } of frames) {
        const tag = { seed: 0, sequence: 0 };
        readTag(frame, 0, frame.length, tag);
        came.push([tag.seed, tag.sequence]);
      }
      more = frames.length > 0;
    }
    return came;
  }

  it('gives each frame to the queue that was chosen, in the order in which it came', () => {
    choose = (_from, sequence) => sequence % QUEUES;
    for (const port of behind) port.send(30);
    const came = ends.map((_, queue) => drain(queue));
    came.forEach((list, queue) => {
      expect(list).toHaveLength(30);
      expect(list.every(([, sequence]) => sequence % QUEUES === queue)).toBe(true);
      for (let from = 0; from < QUEUES; from++) {
        const numbers = list.filter(([seed]) => seed === from).map(([, sequence]) => sequence);
        expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
      }
    });
    expect(dropped).toEqual([0, 0, 0]);
  });

  it('leaves it to the port where nobody chooses, or a queue that is not there', () => {
    choose = (_from, sequence) => (sequence % 2 === 0 ? -1 : 99);
    for (const port of behind) port.send(10);
    ends.forEach((_, queue) => {
      expect(drain(queue)).toEqual(Array.from({ length: 10 }, (_, i) => [queue, i]));
    });
  });

  it('drops what a full queue has no room for, and holds up no other', () => {
    choose = (from, sequence) => (from === 0 || sequence % 2 === 0 ? 0 : 1);
    for (const port of behind) port.send(2000);
    // Nobody reads queue 0.
    expect(drain(1)).toHaveLength(2000);
    expect(dropped[0]).toBeGreaterThan(2000);
    const kept = drain(0);
    expect(kept.length + dropped[0]).toBe(4000);
    expect(kept.length).toBeGreaterThan(500);
  });

  it('reads nothing while no queue asks, and wakes each queue that waits when something comes for it', () => {
    choose = () => 2;
    behind[0].send(5);
    expect(behind[0].generator?.ready).toBe(true);
    for (const { io } of ends) io.wantReadable();
    expect(ends.map(({ wakeUps }) => wakeUps)).toEqual([0, 0, 1]);
    expect(drain(2)).toHaveLength(5);
    for (const { io } of ends) io.wantReadable();
    behind[1].send(1);
    expect(ends.map(({ wakeUps }) => wakeUps)).toEqual([0, 0, 2]);
  });
});
