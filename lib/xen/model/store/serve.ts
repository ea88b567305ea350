/**
 * A xenstored for machines without Xen: `node dist/xen/model/store/serve.js SOCKET[=DOMID]...`
 * Who connects to SOCKET is domain DOMID (0 unless given). Prints `ready SOCKET...` once all sockets listen, and ends,
 * removing them, at SIGTERM or SIGINT. The tree lives and dies with the process.
 */
import { StoreServer } from './server.js';
import { ModelStore } from './store.js';

interface Endpoint {
  readonly path: string;
  readonly domid: number;
}

function parseEndpoint(argument: string): Endpoint | undefined {
  const [, path, domid] = /^([^=]+)(?:=([0-9]{1,5}))?$/.exec(argument) ?? [];
  return path === undefined ? undefined : { path, domid: Number(domid ?? 0) };
}

async function serve(endpoints: readonly Endpoint[]): Promise<void> {
  const store = new ModelStore();
  const server = new StoreServer(store);
  // Before the sockets are there: whoever sees them may also end us.
  const stop = (): void => {
    void server.close();
  };
  process.once('SIGTERM', stop).once('SIGINT', stop);
  for (const { path, domid } of endpoints) {
    store.introduce(domid);
    await server.listen(path, domid);
  }
  process.stdout.write(`ready ${endpoints.map(({ path }) => path).join(' ')}\n`);
}

const endpoints = process.argv.slice(2).map(parseEndpoint);
if (endpoints.length === 0 || endpoints.includes(undefined)) {
  process.stderr.write('Usage: serve.js SOCKET[=DOMID]...\n');
  process.exitCode = 2;
} else {
  await serve(endpoints.filter((endpoint) => endpoint !== undefined));
}
