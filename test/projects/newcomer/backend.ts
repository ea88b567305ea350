// A backend under systemd, written from README.md and docs/api.md alone. It ends on SIGTERM, and its guests stay connected.
import { once } from 'node:events';
import { asService, framePort, Netback, openXen } from 'vifd';

const stop = once(process, 'SIGTERM'); // Before systemd learns that it may stop this program.
await using xen = await openXen();
await using netback = await Netback.open(
  {
    xen,
    runtimeDirectory: process.env.RUNTIME_DIRECTORY ?? '/run/vifd',
    port: () => framePort({ onFrame: () => {} }),
  },
  {
    attached: ({ id }, { resumed }) => console.log(`${id} ${resumed ? 'again' : 'new'}`),
    error: ({ message }) => console.error(message),
  },
);
await using _service = asService(netback);
await stop;
console.log(`detaches from ${netback.vifs.size}`);
