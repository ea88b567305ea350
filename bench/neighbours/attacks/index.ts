import type { Attack } from './attack.js';
import { CONTROL_ATTACKS } from './control.js';
import { EVENT_ATTACKS } from './events.js';
import { FRAME_ATTACKS } from './frames.js';
import { STORE_ATTACKS } from './store.js';

export type { Attack, Strike } from './attack.js';

/** Connects, and does nothing: shows by what two measurements of the same differ. */
const NONE: Attack = { name: 'none', does: 'nothing', counts: '-', begin: () => () => 0 };

export const ATTACKS: readonly Attack[] = [
  NONE,
  ...STORE_ATTACKS,
  ...EVENT_ATTACKS,
  ...FRAME_ATTACKS,
  ...CONTROL_ATTACKS,
];
