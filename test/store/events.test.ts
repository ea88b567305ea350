import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventQueue } from '../../lib/xen/store/events.js';

interface Watch {
  readonly path: string;
}

function queueOf(perWatchMax: number): { queue: EventQueue<Watch>; delivered: string[] } {
  const delivered: string[] = [];
  return {
    delivered,
    queue: new EventQueue((watch, path) => delivered.push(`${watch.path}: ${path}`), perWatchMax),
  };
}

function drain(queue: EventQueue<Watch>): void {
  while (queue.size > 0) queue.deliverOne();
}

describe('the queue of watch events', () => {
  const a = { path: '/a' };
  const b = { path: '/b' };

  it('delivers in order and merges what already waits', () => {
    const { queue, delivered } = queueOf(8);
    expect(queue.push(a, '/a/1')).toBe(true);
    expect(queue.push(b, '/b/1')).toBe(true);
    expect(queue.push(a, '/a/1')).toBe(false);
    expect(queue.push(a, '/a/2')).toBe(true);
    drain(queue);
    expect(delivered).toEqual(['/a: /a/1', '/b: /b/1', '/a: /a/2']);
    expect(queue.push(a, '/a/1')).toBe(true);
  });

  it('keeps one event, the watched path, of a watch that has too many', () => {
    const { queue, delivered } = queueOf(4);
    queue.push(b, '/b/1');
    for (let n = 0; n < 5; n += 1) queue.push(a, `/a/${n}`);
    drain(queue);
    expect(delivered).toEqual(['/b: /b/1', '/a: /a']);
  });

  it('forgets what waits for a watch', () => {
    const { queue, delivered } = queueOf(4);
    queue.push(a, '/a/1');
    queue.push(b, '/b/1');
    queue.forget(a);
    queue.deliverOne();
    queue.deliverOne();
    expect(delivered).toEqual(['/b: /b/1']);
  });

  it('continues after a throw', () => {
    const delivered: string[] = [];
    const queue = new EventQueue<Watch>((_watch, path) => {
      delivered.push(path);
      if (path === '/a/1') throw new Error('handler');
    });
    queue.push(a, '/a/1');
    queue.push(a, '/a/2');
    expect(() => queue.deliverOne()).toThrow('handler');
    queue.deliverOne();
    expect(delivered).toEqual(['/a/1', '/a/2']);
  });

  it('never has more than its bound and never loses a change', () => {
    const pushes = fc.array(fc.oneof(fc.nat(40), fc.constant('deliver' as const)), { maxLength: 300 });
    fc.assert(
      fc.property(pushes, fc.integer({ min: 1, max: 8 }), (steps, bound) => {
        const waiting = new Set<string>();
        const queue = new EventQueue<Watch>((_watch, path) => {
          if (path === '/a') waiting.clear();
          else waiting.delete(path);
        }, bound);
        for (const step of steps) {
          if (step === 'deliver') queue.deliverOne();
          else queue.push(a, waiting.add(`/a/${step}`) && `/a/${step}`);
          expect(queue.size).toBeLessThanOrEqual(bound);
        }
        drain(queue);
        expect(waiting.size).toBe(0);
      }),
    );
  });
});
