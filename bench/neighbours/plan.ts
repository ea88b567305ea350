import type { BridgePlan } from '../../worlds/processes/bridge.js';

/** dom0 and a driver domain have a vifd each; both put their taps into this bridge. */
export const BRIDGE: BridgePlan = { name: 'br0', address: '10.77.0.1', mac: '02:77:00:00:00:01' };
/** Behind the bridge's uplink: a frame to it goes through the attacker's vif and to no other guest. */
export const SINK_MAC = [0x02, 0x77, 0, 0, 0x99, 0x99] as const;
export const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] as const;

export interface GuestPlan {
  readonly domid: number;
  readonly backendDomid: number;
}

export const VICTIM: GuestPlan = { domid: 7, backendDomid: 0 };

/** Where the attacker's vif is served: by the victim's vifd, or by the other one. */
export const ARMS = ['beside', 'apart'] as const;
export type Arm = (typeof ARMS)[number];
export const ATTACKERS: Readonly<Record<Arm, GuestPlan>> = {
  beside: { domid: 8, backendDomid: 0 },
  apart: { domid: 9, backendDomid: 1 },
};

/** Both are served by the victim's vifd, which shares its time out between them. */
export const FLOODERS: readonly GuestPlan[] = [
  { domid: 10, backendDomid: 0 },
  { domid: 11, backendDomid: 0 },
];

/** How many queues vifd allows, and each attacker uses. */
export const QUEUES = 8;

export function addressOf(domid: number): string {
  return `10.77.0.${domid}`;
}

export function macOf(domid: number): string {
  return `00:16:3e:00:00:${domid.toString(16).padStart(2, '0')}`;
}
