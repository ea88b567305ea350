/**
 * `node test/journals/record.mjs --build CHECKOUT --out DIRECTORY`: has a built checkout of vifd serve a guest, ends it at a known place, and
 * records its journals, the guest's memory, the store, and what a resume must find. Made `7952fb1/` of commit 7952fb1, and the folders of
 * later versions. It knows where modules are in both. See README.md.
 *
 * Needs root (taps in a network namespace of its own), strace (to kill between two writes into a tap) and iproute2.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { brotliCompressSync } from 'node:zlib';
import { Guest, patternFrame, udpFrame } from './guest.mjs';

const { values: options } = parseArgs({
  options: { build: { type: 'string' }, out: { type: 'string' }, only: { type: 'string', default: '' } },
});
if (options.build === undefined || options.out === undefined) {
  console.error('usage: record.mjs --build CHECKOUT --out DIRECTORY [--only STATE]');
  process.exit(2);
}
const build = resolve(options.build);
const out = resolve(options.out);
/** No frames but those of scenes. */
const IPV6_OFF = 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6';
if (process.env.VIFD_RECORD_NETWORK === undefined) {
  const args = [
    '-n',
    '-m',
    'sh',
    '-c',
    `${IPV6_OFF}; exec "$@"`,
    'sh',
    process.execPath,
    fileURLToPath(import.meta.url),
    ...process.argv.slice(2),
  ];
  const env = { ...process.env, VIFD_RECORD_NETWORK: '1' };
  const { status } = spawnSync('unshare', args, { stdio: 'inherit', env });
  process.exit(status ?? 1);
}

const libraries = join(build, 'build/Release/xensim');
const program = join(build, 'dist/vifd.cjs');
/** The build has the module in one of the places that it had over time. */
const from = (...places) => {
  const files = places.map((place) => join(build, 'dist', place));
  return import(files.find((file) => existsSync(file)) ?? files[0]);
};
const { openXen } = await from('xen/native/open.js');
const { openStore } = await from('xen/store/client.js');
const { createVif } = await from('testing/netfront/toolstack.js', 'netfront/toolstack.js');
const { ModelHypervisor, ModelKilled } = await from('testing/model/index.js', 'xen/model/index.js');
const { journalFiles } = await from('host/journal-files.js', 'journal-files.js');
const { Netback } = await from('netback/netback.js');

const [DOMID, HANDLE, MAC] = [7, 0, '00:16:3e:00:00:07'];
const BACKEND = `/local/domain/0/backend/vif/${DOMID}/${HANDLE}`;
const FRONTEND = `/local/domain/${DOMID}/device/vif/${HANDLE}`;
const ADDRESSES = [2, 3, 4, 5].map((last) => `10.9.0.${last}`);
const commit = spawnSync('git', ['-C', build, 'rev-parse', 'HEAD'], { encoding: 'utf8' }).stdout.trim();

function must(command, ...args) {
  const { status, stderr, stdout } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function until(what, isSo, timeoutMs = 15_000) {
  const end = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`after ${timeoutMs} ms still not: ${what}`);
    await sleep(20);
  }
}

// ---- what every state leaves -----------------------------------------------------------------------

const states = [];

/** Every node below a path, parents first. */
async function nodesBelow(store, path) {
  const value = await store.read(path);
  const names = value === undefined ? [] : await store.list(path);
  const below = [];
  for (const name of names.sort()) below.push(...(await nodesBelow(store, `${path}/${name}`)));
  return value === undefined ? [] : [[path, value], ...below];
}

/** Indented; lists of numbers and words on a line. */
function textOfJson(value) {
  return JSON.stringify(value, null, 1).replace(/\[[^[\]{}]*\]/g, (list) =>
    list.replace(/\s+(?=(?:[^"]*"[^"]*")*[^"]*$)/g, ' '),
  );
}

/** Writes a state's files. */
async function save(name, { store, guest, directory, entry }) {
  const folder = join(out, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const journals = readdirSync(directory)
    .filter((file) => file.endsWith('.journal'))
    .sort();
  for (const file of journals)
    writeFileSync(join(folder, `${file}.br`), brotliCompressSync(readFileSync(join(directory, file))));
  const memory = guest.memory();
  for (const { file, bytes } of memory) writeFileSync(join(folder, `${file}.br`), brotliCompressSync(bytes));
  const nodes = [...(await nodesBelow(store, BACKEND)), ...(await nodesBelow(store, FRONTEND))];
  writeFileSync(join(folder, 'store.json'), `${JSON.stringify(Object.fromEntries(nodes), null, 2)}\n`);
  const state = {
    ...entry,
    domid: DOMID,
    handle: HANDLE,
    journals,
    grants: Object.fromEntries(memory.map(({ file, refs }) => [file, refs])),
    queues: guest.queueSettings(),
    ...(guest.control && { control: guest.controlSettings() }),
  };
  writeFileSync(join(folder, 'state.json'), `${textOfJson(state)}\n`);
  states.push(name);
  console.log(`recorded ${name}`);
}

// ---- by real processes, on xensim -------------------------------------------------------------------

/** A store, a guest and one process of `vifd run` after the other. */
class Processes {
  /** Added to the ports of all datagrams. */
  portShift = 0;
  #children = [];

  static async open(setUp) {
    const world = new Processes();
    world.setUp = setUp;
    world.directory = mkdtempSync('/dev/shm/vifd-record-');
    world.journals = join(world.directory, 'journal');
    const socket = join(world.directory, 'store');
    const env = {
      XENSIM: world.directory,
      XENSIM_DOMID: '0',
      XENSTORED_PATH: socket,
      VIFD_XEN_LIBRARIES: libraries,
    };
    world.env = { ...process.env, ...env };
    const stores = ['dist/testing/xenstored/serve.js', 'dist/xen/model/store/serve.js'];
    const store = stores.find((file) => existsSync(join(build, file))) ?? stores[0];
    await world.#spawn([store, `${socket}=0`, `${socket}.7=7`], 'ready');
    world.store = await openStore({ path: socket });
    await createVif(world.store, { domid: DOMID, handle: HANDLE, mac: MAC });
    if (setUp.rate !== undefined) await world.store.write(`${BACKEND}/rate`, setUp.rate);
    process.env.XENSIM = world.directory;
    process.env.XENSIM_DOMID = `${DOMID}`;
    world.xen = await openXen({ libraries, domid: DOMID, store: await openStore({ path: `${socket}.7` }) });
    world.guest = new Guest(world.xen, setUp);
    return world;
  }

  /** The first start: the guest connects when its backend waits for it. */
  async connect() {
    const attached = this.start();
    await until('InitWait', async () => (await this.store.read(`${BACKEND}/state`)) === '2');
    await this.guest.connect(this.xen.store, FRONTEND);
    await attached;
    await until('Connected', async () => (await this.store.read(`${BACKEND}/state`)) === '4');
  }

  get command() {
    const { payload, queues } = this.setUp;
    return ['run', '--json', '--payload', payload, '--queues', `${queues}`];
  }

  async start(env = {}) {
    const args = [program, ...this.command, '--journal', this.journals];
    this.vifd = await this.#spawn(args, 'attached', env);
  }

  async end(signal) {
    const { vifd } = this;
    const ended = new Promise((resolved) => vifd.once('exit', resolved));
    vifd.kill(signal);
    await ended;
  }

  async show() {
    let shown;
    await until('vifd show', () => {
      const args = [program, 'show', '--json', '--journal', this.journals];
      const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', env: this.env });
      if (status === 0) shown = JSON.parse(stdout).vifs[0];
      return status === 0;
    });
    return shown;
  }

  /** An address of the host's on the tap, and the guest's place in its table of neighbours, which a restart empties. */
  addressTap() {
    must('ip', 'address', 'replace', '10.9.0.1/24', 'dev', 'vif7.0');
    for (const address of ADDRESSES)
      must('ip', 'neighbour', 'replace', address, 'lladdr', MAC, 'dev', 'vif7.0', 'nud', 'permanent');
  }

  /** Sends datagrams to the guest through the tap: [address of the guest, port, text]. */
  async datagrams(list) {
    const socket = createSocket('udp4');
    await new Promise((resolved) => socket.bind(5000, '10.9.0.1', resolved));
    for (const [address, port, text] of list) {
      await new Promise((resolved, rejected) =>
        socket.send(text, port + this.portShift, address, (error) => (error ? rejected(error) : resolved())),
      );
    }
    await new Promise((resolved) => socket.close(resolved));
  }

  /**
   * Has vifd take more frames than the guest has buffers: while vifd is stopped the frames come and the guest posts the
   * buffers, so that one batch takes them all. @param list for `datagrams`; `buffers` of each queue.
   */
  async hold(list, buffers) {
    // Until Linux has noticed the carrier of a tap that is served again, frames for it are lost.
    await sleep(1500);
    this.addressTap();
    this.vifd.kill('SIGSTOP');
    await this.datagrams(list);
    for (const index of this.guest.queues.keys()) this.guest.post(index, buffers);
    this.vifd.kill('SIGCONT');
    const delivered = () =>
      this.guest.queues.reduce((sum, _queue, i) => sum + this.guest.received(i).length, 0);
    let seen = '';
    await until(
      'all frames are delivered or held',
      async () => {
        const held = (await this.show()).connection.queues.reduce(
          (sum, { pendingFrames, heldFrames }) => sum + (pendingFrames ?? heldFrames),
          0,
        );
        seen += `${held}+${delivered()} `;
        return held > 0 && held + delivered() === list.length;
      },
      4000,
    ).catch(async (error) => {
      seen +=
        JSON.stringify((await this.show()).connection.queues) + must('ip', '-s', 'link', 'show', 'vif7.0');
      throw new NotAllTaken(`${error.message}: ${seen}`);
    });
  }

  async close() {
    for (const child of this.#children.slice(1)) child.kill('SIGKILL');
    await this.xen[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
    this.#children[0].kill('SIGTERM');
    // A scene that failed early has none.
    spawnSync('ip', ['link', 'delete', 'vif7.0'], { stdio: 'ignore' });
    rmSync(this.directory, { recursive: true });
  }

  async #spawn(args, event, env = {}) {
    const child = spawn(process.execPath, args, {
      cwd: build,
      env: { ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#children.push(child);
    await new Promise((resolved, rejected) => {
      child.once('exit', (code) => rejected(new Error(`${args[0]} ended with ${code}`)));
      createInterface(child.stdout).on('line', (line) => {
        if ((line.startsWith('{') ? JSON.parse(line).event : line.split(' ')[0]) === event) resolved();
      });
    });
    return child;
  }
}

/**
 * Frames wait in a queue of the tap. vifd reads none of them while that queue has frames pending that another one read, so all of them have to be in
 * one queue of the tap. Linux chooses it by a hash of addresses and ports, and the guest's hash has no ports.
 */
class NotAllTaken extends Error {}

/** Runs a scene by real processes, until it leaves no frame in the tap. `scene` returns its entry in the index. */
async function byProcess(name, setUp, scene) {
  if (!name.includes(options.only)) return;
  for (let attempt = 0; ; attempt++) {
    try {
      return await tryByProcess(name, setUp, scene, attempt);
    } catch (error) {
      if (!(error instanceof NotAllTaken) || attempt === 40) throw error;
    }
  }
}

async function tryByProcess(name, setUp, scene, attempt) {
  const world = await Processes.open(setUp);
  world.portShift = attempt * 4;
  try {
    const entry = await scene(world);
    const { store, guest, journals: directory } = world;
    const command = `vifd ${world.command.join(' ')}`;
    await save(name, {
      store,
      guest,
      directory,
      entry: { how: 'process', command, payload: setUp.payload, ...entry },
    });
  } finally {
    await world.close();
  }
}

const RATE = { bytes: 1_000_000, intervalMs: 3_000_000 };
const KEY = Uint8Array.from({ length: 40 }, (_, i) => (i * 29 + 3) & 0xff);
const MAPPING = [1, 0, 0, 1, 1, 0, 1, 0];
const GROUPS = ['33:33:00:00:00:01', '01:00:5e:00:00:fb', '33:33:ff:00:00:07'];

/** Hashing, staged grants, a multicast list and a rate: all state that a guest and its toolstack can make vifd store. */
const PROGRAMMED = {
  queues: 2,
  split: true,
  control: true,
  rate: `${RATE.bytes},${RATE.intervalMs * 1000}`,
  keys: { 'request-multicast-control': '1', 'xdp-headroom': '256' },
};

/** @returns what the index expects of all that was set. */
async function program7(guest) {
  await guest.setHash({ key: KEY, mapping: MAPPING, types: 15 });
  await guest.stage(0, [40, 41], 'write');
  await guest.stage(0, [42, 44], 'read');
  await guest.stage(1, [43], 'write');
  await guest.unstage(0, [41]);
  for (const group of GROUPS) await guest.multicast(group, true);
  await guest.multicast(GROUPS[1], false);
  const refs = (...pages) => pages.map((page) => guest.ref(page));
  return {
    multicast: { requested: true, addresses: [GROUPS[0], GROUPS[2]] },
    hash: { algorithm: 1, types: 15, key: Buffer.from(KEY).toString('hex'), mapping: MAPPING },
    staged: [
      { read: refs(42, 44), write: refs(40), pendingRemoval: [] },
      { read: [], write: refs(43), pendingRemoval: [] },
    ],
  };
}

/** 12 datagrams of several flows; IPv4's hash is of the addresses. */
const BURST = Array.from({ length: 12 }, (_, i) => [
  ADDRESSES[i % 4],
  7000 + (i % 4),
  `to the guest, frame ${i}`,
]);

function programmed(end) {
  return async (world) => {
    const { guest } = world;
    await world.connect();
    const expected = await program7(guest);
    const sent = [60, 1000, 3000].map((bytes, i) => patternFrame(`before, frame ${i}`, bytes));
    for (const [i, frame] of sent.entries()) await guest.sendAndWait(i % 2, [frame]);
    // Two processes go before the last: one is stopped and one is killed.
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      await world.end(signal);
      await world.start();
    }
    await world.hold(BURST, 6);
    const shown = await world.show();
    const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
    await world.end(end);
    return {
      end,
      at: 'more frames were read from the tap than the guest has buffers for',
      monotonicMs,
      expect: {
        ...expected,
        resumes: 2,
        controlWrapped: false,
        rate: { ...RATE, leftBytes: RATE.bytes - sent.reduce((sum, { length }) => sum + length, 0) },
        pendingFromGuest: [[], []],
        pendingToGuest: pendingOf(guest, shown, BURST),
        repeatedAtMost: 0,
      },
    };
  };
}

/** Returns the sent frames that the guest did not get, and how many are pending in each queue according to `vifd show`. */
function pendingOf(guest, shown, list) {
  const delivered = guest.queues.flatMap((_queue, index) => guest.received(index).map(textOf));
  const texts = list.map(([, , text]) => text).filter((text) => !delivered.includes(text));
  return {
    texts,
    counts: shown.connection.queues.map(({ pendingFrames, heldFrames }) => pendingFrames ?? heldFrames),
  };
}

/** In front of a frame are its headers, and the headroom that the guest asked for. */
function textOf(frame) {
  return /to the guest.*/.exec(frame.toString('latin1'))?.[0];
}

for (const payload of ['copy', 'map']) {
  await byProcess(`programmed-stopped-${payload}`, { ...PROGRAMMED, payload }, programmed('SIGTERM'));
  await byProcess(`programmed-killed-${payload}`, { ...PROGRAMMED, payload }, programmed('SIGKILL'));
}

await byProcess(
  'plain-stopped',
  { queues: 1, split: false, control: false, payload: 'copy' },
  async (world) => {
    await world.connect();
    await world.guest.sendAndWait(0, [patternFrame('before', 60)]);
    const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
    await world.end('SIGTERM');
    return { end: 'SIGTERM', at: 'all is done', monotonicMs, expect: nothing(1) };
  },
);

/** The expectation for a guest that has programmed nothing, with no pending frame. */
function nothing(queues) {
  const each = (make) => Array.from({ length: queues }, make);
  return {
    multicast: { requested: false, addresses: [] },
    hash: { algorithm: 0, types: 0, key: '00'.repeat(40), mapping: [] },
    staged: each(() => ({ read: [], write: [], pendingRemoval: [] })),
    resumes: 0,
    controlWrapped: false,
    pendingFromGuest: each(() => []),
    pendingToGuest: { texts: [], counts: each(() => 0) },
    repeatedAtMost: 0,
  };
}

for (const end of ['SIGTERM', 'SIGKILL']) {
  const name = `four-queues-${end === 'SIGTERM' ? 'stopped' : 'killed'}`;
  await byProcess(name, { queues: 4, split: true, control: false, payload: 'copy' }, async (world) => {
    await world.connect();
    await world.hold(BURST, 1);
    const shown = await world.show();
    const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
    await world.end(end);
    const expect = { ...nothing(4), pendingToGuest: pendingOf(world.guest, shown, BURST) };
    return { end, at: 'frames of several queues wait for buffers', monotonicMs, expect };
  });
}

// strace kills it when it enters the third write of a batch into the tap: with io_uring there is only one.
const WRITTEN_ONE_BY_ONE = { VIFD_IO_URING: '0' };
const WRITES = { copy: 'write', map: 'writev' };
for (const payload of ['copy', 'map']) {
  const setUp = { queues: 1, split: false, control: false, payload, ringStart: 0xfffffffc };
  await byProcess(`killed-while-writing-${payload}`, setUp, async (world) => {
    const { guest } = world;
    await world.connect();
    await world.end('SIGTERM');
    await world.start(WRITTEN_ONE_BY_ONE);
    const list = BURST.slice(0, 5);
    await world.hold(list, 2);
    const shown = await world.show();
    const inject = `inject=${WRITES[payload]}:signal=SIGKILL:when=3`;
    const strace = spawn(
      'strace',
      ['-p', `${world.vifd.pid}`, '-e', `trace=${WRITES[payload]}`, '-P', '/dev/net/tun', '-e', inject],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    strace.stderr.setEncoding('utf8').on('data', (chunk) => {
      said += chunk;
    });
    await until('strace is attached', () => said.includes('attached'));
    const ended = new Promise((resolved) => world.vifd.once('exit', (_code, signal) => resolved(signal)));
    const frames = [1000, 3000, 9000, 1514, 700, 4096].map((bytes, i) =>
      patternFrame(`written, frame ${i}`, bytes),
    );
    const udp = udpFrame('its checksum is open', 2000);
    guest.send(0, [...frames, udp]);
    const signal = await ended;
    if (signal !== 'SIGKILL') throw new Error(`it ended by ${signal}: ${said}`);
    const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
    const taken = guest.queues[0].tx.answeredFrames;
    const late = [800, 60].map((bytes, i) => patternFrame(`sent after the kill, frame ${i}`, bytes));
    guest.send(0, late);
    const sent = [...frames, udp].map(describe);
    if (payload === 'copy' ? taken !== sent.length : taken !== 0)
      throw new Error(`${taken} frames were answered`);
    return {
      end: 'SIGKILL',
      at: `the third ${WRITES[payload]} of a batch into the tap; two frames are written`,
      monotonicMs,
      expect: {
        ...nothing(1),
        // Rings that do not begin at 0 count as served before.
        resumes: 2,
        pendingFromGuest: [payload === 'copy' ? sent : []],
        unanswered: [payload === 'copy' ? late.map(describe) : [...sent, ...late.map(describe)]],
        pendingToGuest: pendingOf(guest, shown, list),
        repeatedAtMost: 2,
      },
    };
  });
}

/** A frame as the index has it. */
function describe(frame) {
  return { bytes: frame.length, text: frame.text, header: frame.openChecksum ? [1, 34, 6] : [0, 0, 0] };
}

// ---- on the model, for places that no signal hits ---------------------------------------------------

/** A port of the host that provides the frames put into it, and drops frames that are written into it. */
class QuietPort {
  name = 'quiet';
  writesMapped = false;
  queuesMax = 4;
  written = 0;
  #waiting = [];
  #wanted = new Map();

  put(frames) {
    this.#waiting.push(...frames);
    try {
      for (const run of [...this.#wanted.values()]) run();
    } catch (error) {
      // The backend may end right here.
      if (!(error instanceof ModelKilled)) throw error;
    }
  }

  open({ reads, writes }, { onReadable, queue }) {
    const index = queue?.index ?? 0;
    return {
      write: () => {
        this.written += writes.count;
        return writes.count;
      },
      // All come by the first queue: they are sorted from there.
      read: () => (index === 0 ? this.#read(reads) : this.#none(reads)),
      wantReadable: () => this.#wanted.set(index, onReadable),
      close: () => this.#wanted.delete(index),
    };
  }

  #none(reads) {
    reads.count = 0;
    return 0;
  }

  #read(reads) {
    let at = 4096;
    let count = 0;
    for (const frame of this.#waiting.splice(0)) {
      reads.arena.u32.fill(0, (at - 12) >>> 2, at >>> 2);
      reads.arena.bytes.set(frame, at);
      const words = 4 + count * 8;
      reads.block.set([at, frame.length, 0, 0, 0], frameWords(reads, count, words));
      at += 4096 * Math.ceil((frame.length + 12) / 4096);
      count += 1;
    }
    reads.count = count;
    return count;
  }

  setCarrier() {
    return true;
  }

  async remove() {}
  async [Symbol.asyncDispose]() {}
}

const { frameAt, FRAME_LENGTH, FRAME_OFFSET } = await from('ports/frame-batch.js', 'ports/types.js');

function frameWords(_reads, index) {
  if (FRAME_OFFSET !== 0 || FRAME_LENGTH !== 1) throw new Error('frames are laid out otherwise');
  return frameAt(index);
}

/**
 * Runs a scene on the model. `scene` acts as the guest; the backend ends at the first step after `killAt` is given a
 * predicate that holds.
 */
async function byModel(name, setUp, scene) {
  if (!name.includes(options.only)) return;
  const directory = mkdtempSync('/dev/shm/vifd-record-');
  const hypervisor = new ModelHypervisor();
  const toolstack = hypervisor.open(0);
  const settled = async (work) => {
    await hypervisor.settle();
    return work;
  };
  await settled(createVif(toolstack.store, { domid: DOMID, handle: HANDLE, mac: MAC }));
  const port = new QuietPort();
  let isThere = () => false;
  let killed = false;
  const start = async () => {
    const xen = hypervisor.open(0, {
      onStep: () => {
        if (killed || !isThere()) return;
        killed = true;
        throw new ModelKilled();
      },
    });
    const { payload, queues } = setUp;
    const opening = Netback.open({
      xen,
      port: () => port,
      payload,
      queues,
      journals: journalFiles(directory),
    });
    const netback = await settled(opening);
    return async () => {
      await settled(netback[Symbol.asyncDispose]());
      await settled(xen[Symbol.asyncDispose]());
    };
  };
  const guestXen = hypervisor.open(DOMID);
  const guest = new Guest(guestXen, { ...setUp, settle: () => hypervisor.settle() });
  let stop = await start();
  await settled(guest.connect(guestXen.store, FRONTEND));
  await hypervisor.settle();
  const words = (file) => {
    const bytes = readFileSync(join(directory, file));
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  };
  const world = {
    ...{ guest, port, words },
    restart: async () => {
      await stop();
      stop = await start();
    },
    stop: () => stop(),
    killAt: (predicate) => {
      isThere = predicate;
    },
    settle: () => hypervisor.settle(),
  };
  const entry = await scene(world);
  if (entry.end === 'killed' && !killed) throw new Error(`${name}: it was never there`);
  await save(name, {
    store: {
      read: (path) => settled(toolstack.store.read(path)),
      list: (path) => settled(toolstack.store.list(path)),
    },
    ...{ guest, directory },
    entry: {
      how: 'model',
      command: 'Netback.open with journalFiles, on ModelHypervisor',
      payload: setUp.payload,
      ...entry,
    },
  });
  rmSync(directory, { recursive: true });
}

// Where a journal has what the scenes look for, in words.
const places = await placesIn();
const { version: JOURNAL_VERSION, hashWords: HASH_WORDS } = places;
const { fromGuestLog: AT_FROM_GUEST, toGuestLog: AT_TO_GUEST, toGuestFrames: AT_TO_GUEST_BLOCK } = places;
const { staging: AT_STAGING, hash: AT_HASH, control: AT_CONTROL } = places;

async function placesIn() {
  if (!existsSync(join(build, 'dist/durable/layout.js'))) return placesOf7();
  const { JOURNAL_VERSION: version, LAYOUTS } = await from('durable/layout.js');
  const { vif, queue } = LAYOUTS[version];
  const hashWords = vif.words.parts.find(({ name }) => name === 'hash').words;
  return { version, ...queue.words.at, ...vif.words.at, hashWords };
}

/** In the commits that have no table of their layout: version 7 (lib/netback/state/queue-journal.ts, vif-journal.ts). */
async function placesOf7() {
  const { QUEUE_JOURNAL_BYTES } = await from('netback/state/queue-journal.js', 'netback/queue-journal.js');
  const { RedoLog } = await from('durable/redo.js', 'protocol/redo.js');
  const { FrameBatch } = await from('ports/frame-batch.js', 'ports/types.js');
  const { MULTICAST_WORDS } = await from('netback/guest/multicast.js', 'netback/multicast.js');
  const { CREDIT_WORDS } = await from('netback/guest/credit.js', 'netback/credit.js');
  const { HASH_WORDS: hashWords } = await from('netback/guest/hash.js', 'netback/hash.js');
  const { STAGING_WORDS } = await from('netback/guest/staging.js', 'netback/staging.js');
  const { TO_GUEST_FRAMES } = await from('netback/frames/batch-memory.js', 'netback/batches.js');
  const fromGuestLog = 16;
  const toGuestLog = fromGuestLog + RedoLog.words(128, 1) + FrameBatch.words(128);
  const toGuestFrames = toGuestLog + RedoLog.words(128, 2);
  const staging = toGuestFrames + FrameBatch.words(TO_GUEST_FRAMES);
  const hash = 16 + MULTICAST_WORDS + CREDIT_WORDS;
  if (QUEUE_JOURNAL_BYTES < (staging + STAGING_WORDS) * 4) throw new Error('journals are laid out otherwise');
  return {
    version: 7,
    ...{ fromGuestLog, toGuestLog, toGuestFrames, staging },
    ...{ hash, hashWords, control: hash + hashWords },
  };
}

const COMMITTED = 1 << 28;
const [Q0, Q1, VIF] = ['vif7.0.q0.journal', 'vif7.0.q1.journal', 'vif7.0.journal'];

const ONE_QUEUE = { queues: 1, split: false, control: false, payload: 'copy', ringStart: 0xfffffffe };

await byModel('killed-after-commit-from-guest', ONE_QUEUE, async ({ guest, killAt, settle, words }) => {
  const frames = [60, 4000, 9000].map((bytes, i) => patternFrame(`committed, frame ${i}`, bytes));
  const { tx } = guest.queues[0];
  // Some responses stand in the ring where requests were, and rsp_prod has not moved.
  killAt(
    () =>
      (words(Q0)[AT_FROM_GUEST] & COMMITTED) !== 0 && tx.words[2] === 0xfffffffe && tx.response(0xffffffff),
  );
  guest.send(0, frames);
  await settle();
  return {
    end: 'killed',
    at: 'between steps 2 and 4 of docs/design.md: responses are committed, and some are in the ring',
    expect: { ...nothing(1), resumes: 1, pendingFromGuest: [frames.map(describe)] },
  };
});

await byModel('killed-after-commit-to-guest', ONE_QUEUE, async ({ guest, killAt, settle, words, port }) => {
  const texts = Array.from({ length: 6 }, (_, i) => `to the guest, frame ${i}`);
  const { rx } = guest.queues[0];
  killAt(() => (words(Q0)[AT_TO_GUEST] & COMMITTED) !== 0 && rx.words[2] === 0xfffffffe);
  guest.post(0, 2);
  port.put(texts.map((text) => udpFrame(text, 42 + text.length)));
  await settle();
  return {
    end: 'killed',
    at: 'between steps 2 and 4 to the guest: two frames are committed, four wait for buffers',
    expect: {
      ...nothing(1),
      resumes: 1,
      pendingToGuest: { texts: texts.slice(2), counts: [4] },
      committedToGuest: [texts.slice(0, 2)],
    },
  };
});

const WITH_CONTROL = { queues: 2, split: true, control: true, payload: 'copy', keys: {} };

await byModel('killed-while-sorting', WITH_CONTROL, async ({ guest, killAt, settle, words, port }) => {
  await guest.setHash({ key: KEY, mapping: MAPPING, types: 15 });
  const texts = Array.from({ length: 8 }, (_, i) => `to the guest, frame ${i}`);
  // A frame is in the second queue's journal, and still in the first's.
  killAt(() => words(Q1)[AT_TO_GUEST_BLOCK] > 0 && words(Q0)[AT_TO_GUEST_BLOCK] > 0);
  guest.post(0, 1);
  port.put(texts.map((text, i) => udpFrame(text, 42 + text.length, 7000 + i)));
  await settle();
  return {
    end: 'killed',
    at: 'frames that one queue read are moved to the queue that their hash chooses',
    expect: {
      ...nothing(2),
      hash: { algorithm: 1, types: 15, key: Buffer.from(KEY).toString('hex'), mapping: MAPPING },
      pendingToGuest: { texts, counts: undefined },
      repeatedAtMost: 1,
    },
  };
});

await byModel('killed-while-a-key-is-written', WITH_CONTROL, async ({ guest, killAt, settle, words }) => {
  await guest.setHash({ key: KEY, mapping: MAPPING, types: 15 });
  const other = KEY.map((byte) => byte ^ 0xff);
  const selected = words(VIF)[AT_HASH];
  const first = new Uint32Array(other.buffer)[0];
  killAt(() => {
    const journal = words(VIF).subarray(AT_HASH, AT_HASH + HASH_WORDS);
    return journal[0] === selected && journal.includes(first);
  });
  guest.setKeyLater(other);
  await settle();
  return {
    end: 'killed',
    at: 'a new key stands beside the one that counts; the request is not answered',
    expect: {
      ...nothing(2),
      hash: { algorithm: 1, types: 15, key: Buffer.from(KEY).toString('hex'), mapping: MAPPING },
      controlAnswers: [{ type: 3, status: 0 }],
      hashAfterResume: { key: Buffer.from(other).toString('hex') },
    },
  };
});

await byModel('killed-after-commit-control', WITH_CONTROL, async ({ guest, killAt, settle, words }) => {
  await guest.setHash({ key: KEY, mapping: MAPPING, types: 15 });
  const answered = guest.control.ring.u32[2];
  killAt(() => (words(VIF)[AT_CONTROL] & COMMITTED) !== 0 && guest.control.ring.u32[2] === answered);
  guest.askLater([5, 4]);
  await settle();
  return {
    end: 'killed',
    at: 'a control request is carried out and its response committed, not published: the mapping has 4 entries now',
    expect: {
      ...nothing(2),
      hash: { algorithm: 1, types: 15, key: Buffer.from(KEY).toString('hex'), mapping: [0, 0, 0, 0] },
      controlAnswers: [{ type: 5, status: 0 }],
    },
  };
});

await byModel('killed-with-a-pending-removal', WITH_CONTROL, async ({ guest, killAt, settle, words }) => {
  await guest.stage(0, [40, 41, 42], 'write');
  const pending = guest.ref(41);
  const selected = words(Q0)[AT_STAGING];
  killAt(() => words(Q0)[AT_STAGING] !== selected);
  guest.unstageLater(0, [41]);
  await settle();
  const staged = [40, 42].map((page) => guest.ref(page));
  return {
    end: 'killed',
    at: 'a staged grant is taken back and the request not answered',
    expect: {
      ...nothing(2),
      staged: [
        { read: [], write: staged, pendingRemoval: [pending] },
        { read: [], write: [], pendingRemoval: [] },
      ],
      controlAnswers: [{ type: 10, status: 0, data: 1 }],
    },
  };
});

await byModel(
  'control-ring-wrapped',
  { ...WITH_CONTROL, controlStart: 0xfffffffb },
  async ({ guest, restart, stop }) => {
    await guest.setHash({ key: KEY, mapping: MAPPING, types: 15 });
    await guest.sendAndWait(0, [patternFrame('before', 60)]);
    await restart();
    await stop();
    return {
      end: 'stopped',
      at: 'the indices of the control ring have come round to 0',
      expect: {
        ...nothing(2),
        resumes: 2,
        controlWrapped: true,
        hash: { algorithm: 1, types: 15, key: Buffer.from(KEY).toString('hex'), mapping: MAPPING },
      },
    };
  },
);

if (options.only === '') {
  const index = { commit, journalVersion: JOURNAL_VERSION, madeBy: 'test/journals/record.mjs', states };
  writeFileSync(join(out, 'index.json'), `${textOfJson(index)}\n`);
}
process.exit(0);
