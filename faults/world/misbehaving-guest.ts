/**
 * A guest that breaks the protocol: `node misbehaving-guest.js MODE`, as the domain in XENSIM_DOMID, with the store at XENSTORED_PATH and the
 * libraries in VIFD_XEN_LIBRARIES. Prints `done` once it has done so, and stays.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { openXen } from '../../lib/index.js';
import type { EventChannel } from '../../lib/xen/seam.js';

const PAGE_WORDS = 1024;
const [TX, RX, DATA] = [0, 1, 2];
/** xen/interface/io/ring.h: req_prod, req_event, rsp_prod, rsp_event, then the slots from word 16 on. */
const [REQ_PROD, REQ_EVENT, RSP_EVENT, SLOTS] = [0, 1, 3, 16];
const WAIT_MS = 5;
const PATIENCE_MS = 10_000;

const [mode = ''] = process.argv.slice(2);
const domid = Number(process.env.XENSIM_DOMID);
const xen = await openXen({ domid });
const { store, shares, events } = xen;
if (shares === undefined) throw new Error('a guest needs memory to grant');
const pool = shares.allocate(3);
const words = pool.u32;
const frontend = `/local/domain/${domid}/device/vif/0`;
const backendState = `/local/domain/0/backend/vif/${domid}/0/state`;
const channel: EventChannel = events.bindUnbound(0, () => channel.unmask());

for (const page of [TX, RX]) {
  words[page * PAGE_WORDS + REQ_EVENT] = 1;
  words[page * PAGE_WORDS + RSP_EVENT] = 1;
}
const keys: Record<string, string> = {
  'request-rx-copy': '1',
  'multi-queue-num-queues': '1',
  'feature-sg': '1',
  'feature-rx-notify': '1',
  'tx-ring-ref': String(pool.grant(TX, 0, 'write')),
  'rx-ring-ref': String(pool.grant(RX, 0, 'write')),
  'event-channel': String(channel.port),
};

await write('state', '1');
await backendIs('2');
for (const [key, value] of Object.entries(keys)) await write(key, value);
await misbehave();
process.stdout.write('done\n');
await sleep(1 << 30);

async function misbehave(): Promise<void> {
  switch (mode) {
    case 'bad-grant':
      await connect();
      return request(60_000, 60);
    case 'beyond':
      await connect();
      return push(10_000);
    case 'size':
      await connect();
      return request(pool.grant(DATA, 0, 'read'), 3);
    case 'newline':
      await write('tx-ring-ref', '1\n<0>vifd[1]: forged by a guest');
      return write('state', '4');
    case 'no-ring':
      await write('rx-ring-ref', '60000');
      return write('state', '4');
    case 'toggle':
      for (let i = 0; i < 100; i++) {
        await write('state', '4');
        await write('state', '1');
      }
      return;
    case 'flood':
      // As much as the guest's quota permits.
      for (let i = 0; i < 2000; i++) await write(`note-${i % 100}`, `${i}`.padEnd(1900, 'x'));
      return;
    default:
      throw new Error(`no such mode: ${mode}`);
  }
}

async function connect(): Promise<void> {
  await write('state', '4');
  await backendIs('4');
}

/** Writes one request for the backend to send a frame of `size` bytes. */
function request(ref: number, size: number): void {
  const at = TX * PAGE_WORDS + SLOTS;
  words[at] = ref;
  words[at + 1] = 0;
  words[at + 2] = 1 | (size << 16);
  push(1);
}

function push(requests: number): void {
  Atomics.store(
    new Int32Array(words.buffer, words.byteOffset, words.length),
    TX * PAGE_WORDS + REQ_PROD,
    requests,
  );
  channel.notify();
}

function write(key: string, value: string): Promise<void> {
  return store.write(`${frontend}/${key}`, value);
}

async function backendIs(state: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while ((await store.read(backendState)) !== state) {
    if (Date.now() > deadline) throw new Error(`the backend's state is not ${state} after ${PATIENCE_MS} ms`);
    await sleep(WAIT_MS);
  }
}
