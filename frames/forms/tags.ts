import type { Layer } from './headers.js';

export interface Tags {
  readonly name: string;
  readonly layers: readonly Layer[];
}

const q = (vlan: number): Layer => ['q', { vlan, prio: vlan % 8 }];
const ad = (vlan: number): Layer => ['ad', { vlan, prio: vlan % 8 }];

/** IEEE 802.1Q (0x8100) and 802.1ad (0x88a8). */
export const TAGS: readonly Tags[] = [
  { name: 'none', layers: [] },
  { name: '802.1Q', layers: [q(100)] },
  { name: '802.1ad', layers: [ad(200)] },
  { name: 'QinQ', layers: [ad(200), q(100)] },
  { name: 'two 802.1Q', layers: [q(300), q(100)] },
  { name: 'three', layers: [ad(200), q(300), q(4094)] },
];
