import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/** The largest MTU of a tap (drivers/net/tun.c, MAX_MTU), so that no frame of the table is too long for a bridge. */
export const MTU_MAX = 65521;

export function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8' });
}

/** Switches IPv6 off, so that no router solicitations come between the frames. Call it before any interface is made. */
export function silence(): void {
  for (const which of ['default', 'all']) writeFileSync(`/proc/sys/net/ipv6/conf/${which}/disable_ipv6`, '1');
}

export function makeBridge(name: string): void {
  ip('link', 'add', name, 'mtu', `${MTU_MAX}`, 'type', 'bridge', 'mcast_snooping', '0', 'ageing_time', '0');
  ip('link', 'set', name, 'up');
}

/** Has the bridge learn no addresses from this port: each frame has a source address of its own. */
export function stopLearning(name: string): void {
  ip('link', 'set', name, 'txqueuelen', '4000');
  ip('link', 'set', name, 'type', 'bridge_slave', 'learning', 'off');
}
