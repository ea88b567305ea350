// Loaded into the processes of vifd by NODE_OPTIONS, so that a worker can fail in ways that no signal brings. VIFD_BENCH_FAULT is a file with the way.
import fs = require('node:fs');

const hoard: unknown[] = [];

process.on('SIGUSR2', () => {
  const fault = fs.readFileSync(process.env.VIFD_BENCH_FAULT ?? '', 'utf8');
  if (fault === 'exception') throw new Error('an exception that nobody catches');
  // The bench has limited the address space: V8 cannot grow, and aborts.
  while (fault === 'out of memory') hoard.push(new Array(100_000).fill(hoard.length));
  while (fault === 'busy loop');
});
