import { adoptTests } from './adopt.js';
import { changeTests } from './changes.js';
import { driverDomainTests } from './driver-domain.js';
import { frameTests } from './frames.js';
import { guestTests } from './guests.js';
import type { Test } from './harness.js';
import { kernelTests } from './kernel.js';
import { lifeTests } from './life.js';
import { neighbourTests } from './neighbours.js';
import { queueTests } from './queues.js';
import { restartTests } from './restart.js';
import { saveTests } from './save.js';
import { speedTests } from './speed.js';
import { systemdTests } from './systemd.js';
import { toolstackTests } from './toolstack.js';
import { trunkTests } from './trunk.js';
import { workerTests } from './workers.js';

/** In the order in which they run: guests continue to run from test to test of a boot. */
export const TESTS: readonly Test[] = [
  ...lifeTests,
  ...frameTests,
  ...trunkTests,
  ...queueTests,
  ...changeTests,
  ...restartTests,
  ...toolstackTests,
  ...saveTests,
  ...neighbourTests,
  ...guestTests,
  ...kernelTests,
  ...adoptTests,
  ...systemdTests,
  ...workerTests,
  ...driverDomainTests,
  ...speedTests,
];
