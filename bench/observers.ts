import { CopiedFrames } from '../lib/netback/frames/frame-stream.js';
import type { Observe } from './loop.js';

/** A program that looks at each frame. Measured with frames of 60 bytes, 64 at a time. */
export interface Observer {
  /** The column's name, and that of the processes. */
  readonly name: string;
  readonly observe: Observe;
}

const ETHERTYPE_AT = 12;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_AT = 23;
const PORT_AT = 36;
const TCP = 6;
const SSH = 22;

/** The same decision by a filter, which reads headers without an object for each frame. */
const filter: Observer = {
  name: 'filter',
  observe: (hooks) => {
    hooks.addFilter((frame) => {
      if (frame.u16(ETHERTYPE_AT) !== ETHERTYPE_IPV4 || frame.u8(PROTOCOL_AT) !== TCP) return 'pass';
      return frame.u16(PORT_AT) === SSH ? 'drop' : 'pass';
    }, 'firewall');
    return undefined;
  },
};

/** Reads Ethernet's, IPv4's and TCP's header, as a firewall does. */
const hook: Observer = {
  name: 'hook',
  observe: (hooks) => {
    hooks.add(({ bytes }) => {
      const isIp = bytes[ETHERTYPE_AT] === 0x08 && bytes[ETHERTYPE_AT + 1] === 0;
      if (!isIp || bytes[PROTOCOL_AT] !== TCP) return 'pass';
      return ((bytes[PORT_AT] << 8) | bytes[PORT_AT + 1]) === SSH ? 'drop' : 'pass';
    }, 'firewall');
    return undefined;
  },
};

/** Takes a copy of each frame by `next()`. What a program does after its `await` is not measured: the loop does not wait for it. */
const frames: Observer = {
  name: 'frames()',
  observe: (hooks) => {
    const stream = new CopiedFrames(
      {},
      {
        follow: (see) =>
          hooks.add((frame, direction) => {
            see(frame, direction);
            return 'pass';
          }),
        now: () => performance.now(),
        onEnd: () => {},
      },
    );
    return (passed) => {
      for (let i = 0; i < passed; i++) void stream.next();
      if (stream.missed > 0) throw new Error(`frames() missed ${stream.missed} frames`);
    };
  },
};

export const OBSERVERS: readonly Observer[] = [filter, hook, frames];
