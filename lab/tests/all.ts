import { adoptTests } from './adopt.js';
import { changeTests } from './changes.js';
import { driverDomainTests } from './driver-domain.js';
import { frameTests, pvhTest } from './frames.js';
import type { Test } from './harness.js';
import { kernelTests } from './kernel.js';
import { lifeTests } from './life.js';
import { neighbourTests } from './neighbours.js';
import { queueTests } from './queues.js';
import { restartTests } from './restart.js';
import { speedTests } from './speed.js';
import { systemdTests } from './systemd.js';

/** In the order in which they run: guests live on from test to test of a boot. */
export const TESTS: readonly Test[] = [
  ...lifeTests,
  ...frameTests,
  ...queueTests,
  ...changeTests,
  ...restartTests,
  ...neighbourTests,
  ...kernelTests,
  ...adoptTests,
  pvhTest,
  ...systemdTests,
  ...driverDomainTests,
  ...speedTests,
];
