import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/** The largest that a tap takes (drivers/net/tun.c, MAX_MTU): no frame of the table is too long for a bridge. */
export const MTU_MAX = 65521;

export function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** Before any interface is made: router solicitations and the like would come between the frames. */
export function silence(): void {
  for (const which of ['default', 'all']) writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
}

export function makeBridge(name: string): void {
  ip('link', 'add', name, 'mtu', `${MTU_MAX}`, 'type', 'bridge', 'mcast_snooping', '0', 'ageing_time', '0');
  ip('link', 'set', name, 'up');
}

/** Each frame has a source address of its own: the bridge must not learn a hundred thousand of them. */
export function stopLearning(name: string): void {
  ip('link', 'set', name, 'txqueuelen', '4000');
  ip('link', 'set', name, 'type', 'bridge_slave', 'learning', 'off');
}
