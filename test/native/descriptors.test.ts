import { spawn, spawnSync } from 'node:child_process';
import { closeSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon, errnoName, type ReceivedMessage } from '../../lib/addon.js';
import { inodeOf, openCount, withOpen } from '../host/descriptors.js';
import { whyNoAddon } from './reason.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = resolve(process.env.VIFD_ADDON ?? `${root}build/Release/vifd.node`);
const python = spawnSync('python3', ['-c', 'import socket; socket.send_fds']).status === 0;
const [O_CLOEXEC, SCM_MAX_FD] = [0o2000000, 253];

function socketPair(): [number, number] {
  const pair = addon().socketPair();
  if (typeof pair === 'number') throw new Error(errnoName(pair));
  return pair;
}

const text = (bytes: Uint8Array, { bytes: length }: ReceivedMessage) =>
  Buffer.from(bytes.subarray(0, length)).toString();

describe.skipIf(whyNoAddon())('descriptors that come by a socket', () => {
  let [near, far] = [-1, -1];
  let before: number;
  const bytes = new Uint8Array(64);
  beforeEach(() => {
    before = openCount();
    [near, far] = socketPair();
  });
  afterEach(() => {
    closeSync(near);
    closeSync(far);
    // No received descriptor is open that the test has not closed.
    expect(openCount()).toBe(before);
  });
  const send = (words: string, ...descriptors: number[]) =>
    addon().sendMessage(far, Buffer.from(words), descriptors);
  const receive = (most = 8) => addon().receiveMessage(near, bytes, most);
  const received = (most = 8): ReceivedMessage => {
    const message = receive(most);
    if (typeof message === 'number') throw new Error(errnoName(message));
    return message;
  };
  const refused = (most = 8) => errnoName(receive(most) as number);

  it('are further ones of the same files, in order, and are closed in a program that is started', () => {
    withOpen(['/dev/null', '/dev/zero'], (first, second) => {
      expect(send('two', second, first)).toBe(3);
      const message = received();
      expect(text(bytes, message)).toBe('two');
      expect(message.descriptors.map(inodeOf)).toEqual([inodeOf(second), inodeOf(first)]);
      for (const descriptor of message.descriptors) {
        const flags = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'));
        expect(Number.parseInt(flags![1], 8) & O_CLOEXEC).toBe(O_CLOEXEC);
        closeSync(descriptor);
      }
    });
  });

  it('may be none', () => {
    send('nothing with it');
    expect(received()).toEqual({ bytes: 15, descriptors: [] });
  });

  it('are not waited for', () => {
    expect(refused()).toBe('EAGAIN');
    closeSync(far);
    expect(received()).toEqual({ bytes: 0, descriptors: [] });
    far = addon().duplicateDescriptor(near);
  });

  it('belong to their message: each is received by itself', () => {
    withOpen(['/dev/null', '/dev/zero'], (first, second) => {
      send('a', first);
      send('b');
      send('c', second);
      const messages = [received(), received(), received()];
      expect(messages.map(({ descriptors }) => descriptors.map(inodeOf))).toEqual([
        [inodeOf(first)],
        [],
        [inodeOf(second)],
      ]);
      for (const descriptor of messages.flatMap(({ descriptors }) => descriptors)) closeSync(descriptor);
      expect(refused()).toBe('EAGAIN');
    });
  });

  it('are refused whole, and closed, when they are more than expected; the next message is not', () => {
    withOpen(['/dev/null'], (descriptor) => {
      send('one too many', descriptor, descriptor, descriptor);
      send('as many as the kernel lets through', ...Array<number>(SCM_MAX_FD).fill(descriptor));
      send('none expected', descriptor);
      send('good', descriptor, descriptor);
      expect([refused(2), refused(2), refused(0)]).toEqual(['E2BIG', 'E2BIG', 'E2BIG']);
      const good = received(2);
      expect(text(bytes, good)).toBe('good');
      for (const one of good.descriptors) closeSync(one);
    });
  });

  it('are all received, when there is room for all that the kernel lets through', () => {
    withOpen(['/dev/null'], (descriptor) => {
      send('', ...Array<number>(SCM_MAX_FD).fill(descriptor));
      const { descriptors } = received(SCM_MAX_FD);
      expect(new Set(descriptors).size).toBe(SCM_MAX_FD);
      for (const one of descriptors) closeSync(one);
    });
  });

  it('are closed with a message that is longer than its room', () => {
    withOpen(['/dev/null'], (descriptor) => {
      send('x'.repeat(65), descriptor);
      expect(refused()).toBe('EMSGSIZE');
      send('x'.repeat(64));
      expect(received()).toEqual({ bytes: 64, descriptors: [] });
    });
  });

  it('cannot be sent when there are none or too many, or when no process listens', () => {
    expect(errnoName(send('x', 1 << 20))).toBe('EBADF');
    withOpen(['/dev/null'], (descriptor) => {
      expect(errnoName(send('x', ...Array<number>(SCM_MAX_FD + 1).fill(descriptor)))).toBe('EINVAL');
      expect(errnoName(addon().sendMessage(descriptor, bytes, []))).toBe('ENOTSOCK');
      expect(errnoName(addon().receiveMessage(descriptor, bytes, 8) as number)).toBe('ENOTSOCK');
    });
    closeSync(near);
    expect(errnoName(send('x'))).toBe('EPIPE');
    near = addon().duplicateDescriptor(far);
  });

  it('do not make a sender wait whose receiver reads nothing', () => {
    let sent = 0;
    for (let status = 0; status >= 0 && sent < 100_000; sent++) status = send('x'.repeat(64));
    expect(sent).toBeLessThan(100_000);
    expect(errnoName(send('x'))).toBe('EAGAIN');
  });

  it('come from another process, and are good when that has ended', async () => {
    const program = `
      const addon = require(${JSON.stringify(file)});
      const fs = require('node:fs');
      const [kept] = [fs.openSync(${JSON.stringify(`${root}package.json`)}, 'r')];
      addon.sendMessage(3, Buffer.from('from ' + process.pid), [kept]);`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'inherit', 'inherit', far] });
    const [code] = await new Promise<[number | null]>((end) => child.once('exit', (status) => end([status])));
    expect(code).toBe(0);
    const message = received();
    expect(text(bytes, message)).toBe(`from ${child.pid}`);
    const [descriptor] = message.descriptors;
    expect(JSON.parse(readFileSync(descriptor, 'utf8')).name).toBe('vifd');
    closeSync(descriptor);
  });

  it('go to another process, which has none left over of those that it may not open', async () => {
    // 16 in the message, and room for fewer: the kernel cuts the list (MSG_CTRUNC).
    const program = `
      const addon = require(${JSON.stringify(file)});
      const fs = require('node:fs');
      const count = () => fs.readdirSync('/proc/self/fd').length;
      const before = count();
      const first = addon.receiveMessage(3, new Uint8Array(8), 253);
      const between = count();
      const second = addon.receiveMessage(3, new Uint8Array(8), 253);
      console.log(JSON.stringify({ first, second: second.descriptors.length, left: between - before }));`;
    withOpen(['/dev/null'], (descriptor) => {
      send('many', ...Array<number>(200).fill(descriptor));
      send('few', descriptor, descriptor);
    });
    const limited = ['-c', 'ulimit -n 128; exec "$@"', 'sh', process.execPath, '-e', program];
    const ran = spawnSync('sh', limited, { stdio: ['ignore', 'pipe', 'inherit', near], encoding: 'utf8' });
    expect(JSON.parse(ran.stdout)).toEqual({ first: -7, second: 2, left: 0 });
  });

  it.skipIf(!python)('may come in several control messages, and with bytes of other ones', async () => {
    const program = `
import array, os, socket, sys
s = socket.socket(fileno=3)
null, zero = os.open('/dev/null', os.O_RDONLY), os.open('/dev/zero', os.O_RDONLY)
rights = lambda *fds: (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))
s.sendmsg([b'two lists'], [rights(null), rights(zero, null)])
s.sendmsg([b'credentials'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, array.array('i', [os.getpid(), os.getuid(), os.getgid()])), rights(null)])`;
    const ran = spawnSync('python3', ['-c', program], { stdio: ['ignore', 'inherit', 'inherit', far] });
    expect(ran.status).toBe(0);
    const messages = [received(), received()];
    expect(messages.map(({ descriptors }) => descriptors.length)).toEqual([3, 1]);
    for (const descriptor of messages.flatMap(({ descriptors }) => descriptors)) closeSync(descriptor);
  });

  it('leave nothing open after thousands of messages, good and bad', () => {
    withOpen(['/dev/null'], (descriptor) => {
      const between = openCount();
      for (let i = 0; i < 3000; i++) {
        send('x'.repeat(i % 70), ...Array<number>(i % 7).fill(descriptor));
        const message = receive(i % 5);
        if (typeof message !== 'number') for (const one of message.descriptors) closeSync(one);
      }
      expect(openCount()).toBe(between);
    });
  });
});

describe.skipIf(whyNoAddon())('descriptors in a stream', () => {
  it('may come with the bytes of several writes, and only one message’s at a time', () => {
    const program = `
      const addon = require(${JSON.stringify(file)});
      const net = require('node:net');
      const fs = require('node:fs');
      const path = require('node:path').join(fs.mkdtempSync('/tmp/vifd-stream-'), 'socket');
      const server = net.createServer((peer) => {
        const [from, to] = [peer._handle.fd, client];
        peer.pause();
        const zero = fs.openSync('/dev/zero', 'r');
        addon.sendMessage(to, Buffer.from('ab'), []);
        addon.sendMessage(to, Buffer.from('cd'), [zero]);
        addon.sendMessage(to, Buffer.from('ef'), [zero, zero]);
        const reads = [];
        const bytes = new Uint8Array(16);
        for (let i = 0; i < 3; i++) {
          const one = addon.receiveMessage(from, bytes, 4);
          reads.push(typeof one === 'number' ? one : [Buffer.from(bytes.subarray(0, one.bytes)).toString(), one.descriptors.length]);
        }
        console.log(JSON.stringify(reads));
        fs.rmSync(require('node:path').dirname(path), { recursive: true });
        process.exit(0);
      });
      let client;
      server.listen(path, () => { client = addon.connectUnix(path); });`;
    const { stdout } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', timeout: 10_000 });
    expect(JSON.parse(stdout)).toEqual([['abcd', 1], ['ef', 2], -11]);
  });
});
