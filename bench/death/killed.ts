/** The process that main.ts kills. Its page of liveness is descriptor 3; its argument is one of KINDS. */
import { holdLiveness } from '../../lib/host/liveness.js';

const [, , kind] = process.argv;
holdLiveness(3);
const memory = Buffer.alloc(kind === '200 MB' ? 200 << 20 : 1, 1);
process.stdout.write('.');
if (kind === 'busy') setTimeout(loop, 50);
else setInterval(() => memory.length, 1e6);

function loop(): never {
  for (;;) memory[0]++;
}
