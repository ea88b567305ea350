import { join } from 'node:path';
import { ROOT } from '../worlds/places.js';

/** The compiled programs of the demo. */
const BUILT = join(ROOT, 'build/demo/demo');

export const STANDBY_PROGRAM: string = join(BUILT, 'standby.js');
export const TRAFFIC_PROGRAM: string = join(BUILT, 'traffic.js');
export const DEMO_PROGRAM: string = join(BUILT, 'main.js');
