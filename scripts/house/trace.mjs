/**
 * Traces one event through the functions of a built vifd: `node scripts/house/trace.mjs attach|from-guest|to-guest`. It makes a copy of dist/
 * in which every function reports its call, and runs a guest on the model over it. As JSON it prints how many calls there were, in how many
 * files, and how often the course of calls entered a file (a stay) and came back to one (a return).
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** A function or method whose head ends its line, as the compiler prints them. */
const HEAD =
  /^(\s*)((?:export )?(?:async )?function\*? ([\w$]+)|(?:static )?(?:async )?(?:get |set )?([#\w$]+|\[Symbol\.\w+\]))\(.*\) \{$/;
const STATEMENT = /^\s*(if|for|while|switch|catch|return|else|do)\b|=>/;
/** The other end of the wire, and the machine below both. */
const NOT_BACKEND = /^testing\//;

const event = process.argv[2] ?? 'attach';
const place = mkdtempSync(join(tmpdir(), 'vifd-trace-'));
try {
  console.log(JSON.stringify({ event, ...(await trace(instrumented(place))) }));
} finally {
  rmSync(place, { recursive: true });
}
process.exit(0);

/** @returns {string} a copy of dist/ whose functions call `globalThis.__entered(file)`. */
function instrumented(place) {
  const copy = join(place, 'dist');
  cpSync(join(root, 'dist'), copy, { recursive: true });
  cpSync(join(root, 'package.json'), join(place, 'package.json'));
  for (const name of ['node_modules', 'build']) symlinkSync(join(root, name), join(place, name));
  for (const file of readdirSync(copy, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.js')) continue;
    const lines = readFileSync(join(copy, file), 'utf8').split('\n');
    const marked = lines.map((line) =>
      HEAD.test(line) && !STATEMENT.test(line)
        ? `${line} globalThis.__entered?.(${JSON.stringify(file)});`
        : line,
    );
    writeFileSync(join(copy, file), marked.join('\n'));
  }
  return copy;
}

async function trace(dist) {
  const from = (module) => import(pathToFileURL(join(dist, module)).href);
  const { Netback } = await from('netback/netback.js');
  const { memoryJournals } = await from('durable/journal.js');
  const { ModelHypervisor } = await from('testing/model/index.js');
  const { createVif, Netfront, TrafficPort } = await from('testing/netfront/index.js');
  const hypervisor = new ModelHypervisor();
  const [backend, toolstack, guest] = [0, 0, 7].map((domid) => hypervisor.open(domid));
  const port = (name, seed) => new TrafficPort({ name, generate: { seed, sizes: [1514], frames: 0 } });
  const [hostPort, guestPort] = [port('host', 2), port('guest', 1)];
  const settled = async (promise) => {
    await hypervisor.settle();
    return promise;
  };
  await settled(createVif(toolstack.store, { domid: 7, handle: 0, mac: '00:16:3e:00:00:07' }));
  const options = { xen: backend, port: () => hostPort, journals: memoryJournals(), payload: 'copy' };
  await settled(Netback.open(options, { error: (error) => console.error(error.message) }));
  const connect = () => settled(Netfront.connect({ xen: guest, handle: 0, port: guestPort }));
  const send = (from, frames) => {
    from.send(frames);
    return hypervisor.settle();
  };
  if (event === 'attach') return watched(connect);
  await connect();
  const from_ = event === 'from-guest' ? guestPort : hostPort;
  await send(from_, 4);
  return watched(() => send(from_, 1));
}

async function watched(run) {
  const entered = [];
  globalThis.__entered = (file) => {
    if (!NOT_BACKEND.test(file)) entered.push(file);
  };
  await run();
  globalThis.__entered = undefined;
  const stays = entered.filter((file, i) => file !== entered[i - 1]);
  const files = new Set(stays);
  return {
    calls: entered.length,
    stays: stays.length,
    files: files.size,
    returns: stays.length - files.size,
  };
}
