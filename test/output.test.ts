import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Output } from '../lib/daemon/output.js';

const EAGAIN = -11;
const EPIPE = -32;

/** A reader with a buffer of this many bytes. */
class Reader {
  room = 100;
  gone = false;
  text = '';
  readonly write = (_fd: number, bytes: Uint8Array): number => {
    if (this.gone) return EPIPE;
    const count = Math.min(this.room, bytes.length);
    this.text += Buffer.from(bytes.subarray(0, count)).toString();
    this.room -= count;
    return count === 0 ? EAGAIN : count;
  };
}

describe('the output', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());
  const open = (reader: Reader) => new Output(2, (lines) => `${lines} lost`, reader.write);

  it('keeps what a full pipe does not take, and writes it in order and whole once there is room', () => {
    const reader = new Reader();
    const output = open(reader);
    reader.room = 5;
    output.line('first line');
    output.line('second');
    expect(reader.text).toBe('first');
    reader.room = 100;
    output.line('third');
    expect(reader.text).toBe('first');
    vi.advanceTimersByTime(50);
    expect(reader.text).toBe('first line\nsecond\nthird\n');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('stores 64 KiB, loses the lines after that, and reports how many once there is room', () => {
    const reader = new Reader();
    const output = open(reader);
    reader.room = 0;
    for (let i = 0; i < 1000; i++) output.line('x'.repeat(99));
    reader.room = 1e6;
    vi.advanceTimersByTime(50);
    const lines = reader.text.trim().split('\n');
    expect(lines).toHaveLength(656);
    expect(lines.at(-1)).toBe('345 lost');
  });

  it('survives a reader that is gone, and reports that to the next one', () => {
    const reader = new Reader();
    const output = open(reader);
    reader.gone = true;
    output.line('one');
    output.line('two');
    reader.gone = false;
    output.line('three');
    expect(reader.text).toBe('three\n2 lost\n');
  });

  it('waits for a reader at the end, and not for long', () => {
    vi.useRealTimers();
    const reader = new Reader();
    const output = open(reader);
    reader.room = 0;
    output.line('last words');
    const began = performance.now();
    output[Symbol.dispose]();
    expect(performance.now() - began).toBeLessThan(1000);
    expect(reader.text).toBe('');
  });
});

const built = 'dist/daemon/output.js';
describe.skipIf(!existsSync(built))('a process that logs', () => {
  const program = `const { Output } = await import('./${built}');
    const output = new Output(2, String);
    for (let i = 0; i < 20000; i++) output.line('x'.repeat(99));
    console.log('goes on');
    output[Symbol.dispose]();`;
  const node = `${process.execPath} --input-type=module -e "$PROGRAM"`;
  const env = { ...process.env, PROGRAM: program };

  it.each([
    ['a full pipe', '2>&1 >&3 | sleep 20'],
    ['a pipe without a reader', '2>&1 >&3 | true'],
    ['a full disk', '2>/dev/full'],
    ['no descriptor', '2>&-'],
  ])('goes on and ends with stderr being %s', async (_what, redirect) => {
    const child = spawn('sh', ['-c', `exec 3>&1; ${node} ${redirect}`], { env, detached: true });
    const said = await new Promise((resolve) => child.stdout.once('data', (data) => resolve(`${data}`)));
    expect(said).toBe('goes on\n');
    process.kill(-(child.pid ?? 0), 'SIGTERM');
  });

  it('writes all to a reader that is only slow to begin', () => {
    const counted = spawnSync('sh', ['-c', `${node} 2>&1 >/dev/null | (sleep 0.05; wc -l)`], {
      env: { ...env, PROGRAM: program.replace('20000', '500') },
      encoding: 'utf8',
    });
    expect(Number(counted.stdout)).toBe(500);
  });
});
