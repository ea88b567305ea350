/**
 * A xenstored for machines without Xen: `node dist/xen/model/store/serve.js [--load FILE] SOCKET[=DOMID]...`
 * Who connects to SOCKET is domain DOMID (0 unless given). Prints `ready SOCKET...` once all sockets listen, and ends,
 * removing them, at SIGTERM or SIGINT. The tree lives and dies with the process; with `--load` it begins with what FILE holds: a
 * JSON array of `[path, value, permissions]`, permissions as in a SET_PERMS.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parsePermission } from '../../store/wire.js';
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

/** Nodes that an earlier store had. */
function load(store: ModelStore, file: string): void {
  const nodes: [path: string, value: string, permissions: string[]][] = JSON.parse(
    readFileSync(file, 'utf8'),
  );
  const session = store.connect(0, { onEvent() {}, onReleased() {}, onLost() {} });
  for (const [path, value, permissions] of nodes) {
    session.write(0, path, Buffer.from(value));
    const parsed = permissions.map(parsePermission).filter((permission) => permission !== undefined);
    session.setPermissions(0, path, parsed);
  }
  session.close();
}

async function serve(endpoints: readonly Endpoint[], file: string | undefined): Promise<void> {
  const store = new ModelStore();
  if (file !== undefined) load(store, file);
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

const { values, positionals } = parseArgs({ options: { load: { type: 'string' } }, allowPositionals: true });
const endpoints = positionals.map(parseEndpoint);
if (endpoints.length === 0 || endpoints.includes(undefined)) {
  process.stderr.write('Usage: serve.js [--load FILE] SOCKET[=DOMID]...\n');
  process.exitCode = 2;
} else {
  await serve(
    endpoints.filter((endpoint) => endpoint !== undefined),
    values.load,
  );
}
