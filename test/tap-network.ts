import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeAll, it } from 'vitest';
import { addon } from '../lib/addon.js';
import type { Port } from '../lib/ports/port.js';
import { tap } from '../lib/ports/tap.js';
import type { TapOptions } from '../lib/ports/tap-options.js';
import { NativeArena } from '../lib/xen/native/arena.js';
import { whyNoAddon } from './native/reason.js';
import { inOwnNetwork } from './own-network.js';

export const arena = (bytes: number) => new NativeArena(bytes);
const ports: Port[] = [];

export function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** Whether the kernel accepts the program that limits the frames in a tap; not in a user namespace. */
export function isLimited(): boolean {
  const probe = addon().openTap('probe', undefined, false);
  if ('failed' in probe) throw new Error(`no tap can be made: ${probe.failed}`);
  const refused = probe.limit(1 << 20, 1);
  probe.close();
  return refused === undefined;
}

/** A tap for one test. */
export function makeTap(options: TapOptions): Port {
  const port = tap(options);
  ports.push(port);
  return port;
}

/**
 * Runs the tests that `register` makes where there is nothing but a bridge `br0` and their taps.
 * @param url import.meta.url of the test file.
 */
export function withTaps(url: string, register: () => void): void {
  const missing = whyNoAddon();
  if (missing !== undefined) {
    it.skip(`taps need the addon: ${missing}`, () => {});
    return;
  }
  inOwnNetwork(url, () => {
    beforeAll(() => {
      // Router solicitations and the like would come between the frames of a test.
      for (const which of ['default', 'all'])
        writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
      ip('link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0');
      ip('link', 'set', 'br0', 'up');
    });
    afterEach(async () => {
      for (const port of ports.splice(0)) await port[Symbol.asyncDispose]();
    });
    register();
  });
}
