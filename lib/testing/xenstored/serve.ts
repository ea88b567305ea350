/**
 * A xenstored for machines without Xen: `node dist/testing/xenstored/serve.js [--load FILE] [--quota NAME=N]... SOCKET[=DOMID]...`
 * A client that connects to SOCKET is domain DOMID (default 0). Prints `ready SOCKET...` once all sockets listen. At SIGTERM or SIGINT it
 * removes them and ends. The tree ends with the process; with `--load` it begins with the content of FILE: a JSON array of `[path, value,
 * permissions]`, permissions as in a SET_PERMS. `--quota` sets one quota of quota.ts, for all domains but dom0.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parsePermission } from '../../xen/store/wire.js';
import { DEFAULT_QUOTA, type Quota } from './quota.js';
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

/** Loads the nodes of an earlier store. */
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

/** @returns undefined if a text is not the name of a quota and a number. */
function parseQuotas(texts: readonly string[]): Partial<Quota> | undefined {
  const parsed = texts.map((text) => /^([A-Za-z]+)=([0-9]{1,9})$/.exec(text));
  if (!parsed.every((match) => match !== null && (match[1] ?? '') in DEFAULT_QUOTA)) return undefined;
  return Object.fromEntries(parsed.map((match) => [match?.[1], Number(match?.[2])]));
}

async function serve(
  endpoints: readonly Endpoint[],
  file: string | undefined,
  quota: Partial<Quota>,
): Promise<void> {
  const store = new ModelStore({ quota });
  if (file !== undefined) load(store, file);
  const server = new StoreServer(store);
  // Handles signals before the sockets exist: a program that sees the sockets may stop this one.
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

const { values, positionals } = parseArgs({
  options: { load: { type: 'string' }, quota: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true,
});
const quota = parseQuotas(values.quota);
const endpoints = positionals.map(parseEndpoint);
if (endpoints.length === 0 || endpoints.includes(undefined) || quota === undefined) {
  process.stderr.write('Usage: serve.js [--load FILE] [--quota NAME=N]... SOCKET[=DOMID]...\n');
  process.exitCode = 2;
} else {
  await serve(
    endpoints.filter((endpoint) => endpoint !== undefined),
    values.load,
    quota,
  );
}
