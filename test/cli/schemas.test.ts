import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { checksJson, runChecks } from '../../lib/cli/check.js';
import { type DaemonDetails, detailsJson } from '../../lib/daemon/details-json.js';
import { eventLog } from '../../lib/daemon/run-log.js';
import { VifdError } from '../../lib/errors.js';
import { VifCounters } from '../../lib/netback/frames/counters.js';
import type { Netback } from '../../lib/netback/netback.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import type { VifDetails } from '../../lib/netback/show.js';
import { XenbusState } from '../../lib/protocol/xenbus.js';
import { setUpHash } from '../../lib/testing/netfront/index.js';
import { jsonLine } from '../../lib/text.js';
import { modelMachine } from '../../worlds/model/machine.js';
import { World } from '../../worlds/model/raw-world.js';
import { QueuesWorld } from '../netback/queues-world.js';
import { extended, OutputSchema, type SchemaName } from './schemas.js';

const NODE = '/local/domain/0/backend/vif/7/0';

/** Expects that the schema accepts these lines, has no property that none of them has, and accepts no object with one property more. */
function expectDescribed(name: SchemaName, lines: readonly string[]): void {
  const schema = new OutputSchema(name);
  for (const line of lines) expect(schema.faultsOf(line)).toEqual([]);
  expect(schema.unseen).toEqual([]);
  for (const line of lines)
    for (const more of extended(JSON.parse(line))) expect(schema.faultsOf(jsonLine(more))).not.toEqual([]);
}

describe('the schemas', () => {
  it.each(['check', 'list', 'run-event', 'show'] as const)('%s.json allows no other properties', (name) => {
    const open = new OutputSchema(name).objects().filter(([, node]) => node.additionalProperties !== false);
    expect(open.map(([pointer]) => pointer)).toEqual([]);
  });

  it('share what they share', () => {
    const { root: show } = new OutputSchema('show');
    const { root: event } = new OutputSchema('run-event');
    for (const name of ['vif', 'code', 'fault', 'flow', 'stats'])
      expect(event.$defs?.[name]).toEqual(show.$defs?.[name]);
  });

  it('name each state of a device', () => {
    const { root } = new OutputSchema('list');
    expect(root.$defs?.state).toMatchObject({ enum: [...Object.keys(XenbusState), '-'] });
  });

  it('come with the package', () => {
    const { files, exports } = JSON.parse(readFileSync('package.json', 'utf8'));
    expect(files).toContain('docs/schemas');
    expect(exports['./schemas/*']).toBe('./docs/schemas/*');
  });
});

describe('vifd show --json', () => {
  let world: World | undefined;
  afterEach(async () => {
    await world?.close();
    world = undefined;
  });
  const line = (details: DaemonDetails) => jsonLine({ schemaVersion: 1, ...detailsJson(details) });

  /** A guest with two queues, a control ring and a hash of its own. */
  async function withHash(): Promise<VifDetails> {
    const queues = await QueuesWorld.open(modelMachine(), 2);
    try {
      await queues.start();
      await queues.connect({ queues: 2, control: true });
      const setUp = { key: Uint8Array.of(1, 2), types: 1, mapping: [0, 1] };
      expect(await queues.settled(setUpHash(queues.front.control!, setUp))).toBe(true);
      return queues.vif!.show();
    } finally {
      await queues.end();
    }
  }

  it('matches its schema, for vifs in each condition', async () => {
    world = await World.open();
    const guest = await world.guest(7);
    await world.settled(guest.connect(world.toolstack));
    await world.start('copy');
    for (const [key, text] of [
      ['rate', '1000,5000'],
      ['mtu', '9000'],
      ['bridge', 'br0'],
    ])
      await world.settled(world.toolstack.store.write(`${NODE}/${key}`, text));
    await world.settle();
    const connected = world.netback.vifs.get('vif7.0')!.show();
    guest.send([{ size: 60, offset: 4090 }]);
    await world.settle();
    const stopped = world.netback.vifs.get('vif7.0')!.show();
    expect(stopped).toMatchObject({ state: 'stopped', reason: expect.stringMatching(/page/) });
    const faults = [{ code: 'ERR_STORE_GONE', message: 'The connection to xenstored is lost.' }] as const;
    const faulty = { ...stopped, faults };
    const parked = { ...stopped, parked: { retryMs: 3 } };
    const vifs = [{ ...connected, worker: { pid: 1 } }, parked, faulty, await withHash()];
    const of = { role: 'worker', pid: 1, load: 0.5 } as const;
    const processes = [
      { ...of, vifs: ['vif7.0'], memoryBytes: 1 },
      { ...of, vifs: [], memoryBytes: undefined },
    ];
    expectDescribed('show', [line({ faults: [], vifs: [] }), line({ faults, processes, vifs })]);
  });

  it('has the fields in their order, and none that the netback has besides', () => {
    const internal = { internal: 1 };
    const drops = {
      ...{ damaged: 9, detached: 8, stale: 7, queue: 6, buffers: 5, unsupported: 4, offload: 3, refused: 2 },
      ...{ port: 1, ...internal },
    };
    const counted = { batches: 7, frames: 1, bytes: 2, filtered: 3, dropped: 4, errors: 5, hookErrors: 6 };
    const flow = { drops, ...counted };
    const stats = { stalls: 1, toGuest: { ...flow, ...internal }, fromGuest: flow, ...internal };
    const ring = { size: 256, reqProd: 1, reqCons: 2, rspProd: 3, reqEvent: 4, rspEvent: 5, ...internal };
    const features = { scatterGather: true, gsoV4: true, gsoV6: true, checksumV4: true, checksumV6: true };
    const queue = {
      ...{ stats, stalled: false, stagedGrants: 0, pendingFrames: 0, toGuest: ring, fromGuest: ring },
      ...{ rxPort: 4, txPort: 3, rxRingRef: 2, txRingRef: 1, ...internal },
    };
    const connection = {
      ...{
        queues: [queue],
        hash: { mapping: [], key: '', types: [], algorithm: 'none' as const, ...internal },
      },
      multicast: { addresses: [], filtering: false, requested: false, ...internal },
      rate: { leftBytes: 1, intervalMs: 2, bytes: 3, ...internal },
      ...{ xdpHeadroom: 0, journal: true, payload: 'copy' as const, resumes: 0, attachedMs: 1 },
      negotiated: { controlRing: true, splitChannels: true, rxNotify: true, ...features, ...internal },
      ...internal,
    };
    const fault = { message: 'm', code: 'ERR_TAP' as const, ...internal };
    const vif: VifDetails = {
      ...{ connection, stats, portDropped: 0, link: 'up', port: 'vif7.0', faults: [fault], reason: 'r' },
      ...{ state: 'connected', mtu: 1500, bridge: 'br0', mac: '', handle: 0, domid: 7, id: 'vif7.0' },
      ...internal,
    };
    const reasons =
      '{"port":1,"refused":2,"offload":3,"unsupported":4,"buffers":5,"queue":6,"stale":7,"detached":8,"damaged":9}';
    const counts = `{"frames":1,"bytes":2,"filtered":3,"dropped":4,"drops":${reasons},"errors":5,"hookErrors":6,"batches":7}`;
    const indices = '{"reqProd":1,"reqCons":2,"rspProd":3,"reqEvent":4,"rspEvent":5,"size":256}';
    const both = `"stats":{"fromGuest":${counts},"toGuest":${counts},"stalls":1}`;
    const wrong = '{"code":"ERR_TAP","message":"m"}';
    expect(line({ vifs: [vif], faults: [fault] })).toBe(
      `{"schemaVersion":1,"faults":[${wrong}],"vifs":[{"id":"vif7.0","domid":7,"handle":0,"mac":"","bridge":"br0",` +
        `"mtu":1500,"state":"connected","reason":"r","faults":[${wrong}],"port":"vif7.0","link":"up","portDropped":0,` +
        `${both},"connection":{"attachedMs":1,"resumes":0,"payload":"copy","journal":true,"negotiated":` +
        '{"scatterGather":true,"gsoV4":true,"gsoV6":true,"checksumV4":true,"checksumV6":true,"rxNotify":true,' +
        '"splitChannels":true,"controlRing":true},"xdpHeadroom":0,"rate":{"bytes":3,"intervalMs":2,"leftBytes":1},' +
        '"multicast":{"requested":false,"filtering":false,"addresses":[]},"hash":{"algorithm":"none","types":[],' +
        '"key":"","mapping":[]},"queues":[{"txRingRef":1,"rxRingRef":2,"txPort":3,"rxPort":4,' +
        `"fromGuest":${indices},"toGuest":${indices},"pendingFrames":0,"stagedGrants":0,"stalled":false,${both}}]}}]}`,
    );
  });
});

describe('vifd check --json', () => {
  it('matches its schema, on a machine that lacks everything', async () => {
    const root = mkdtempSync(join(tmpdir(), 'vifd-root-'));
    const checks = await runChecks({ root, store: `${root}/nowhere`, journal: '/run/vifd' });
    rmSync(root, { recursive: true });
    expectDescribed('check', [jsonLine(checksJson(checks))]);
    const more = checks.map((check) => ({ internal: 1, ...check }));
    expect(jsonLine(checksJson(more))).toBe(jsonLine({ schemaVersion: 1, ready: false, checks }));
  });
});

describe('vifd run --json', () => {
  const EAGAIN = 11;
  const vif = { id: 'vif7.0', state: 'stopped', reason: 'its guest broke the protocol', queueStats: [] };
  const served = { ...vif, stats: new VifCounters(() => 0).sum } as unknown as Vif;
  const wrong = new VifdError('ERR_TAP', 'vif7.0: tap vif7.0 is down: set it up.', { vif: 'vif7.0' });

  /** Returns each line that these calls write while the reader does not read. */
  function linesOf(calls: (log: ReturnType<typeof eventLog>) => void, worker?: number): string[] {
    let text = '';
    let away = true;
    const write = (_descriptor: number, bytes: Uint8Array) => {
      if (away) return -EAGAIN;
      text += Buffer.from(bytes).toString();
      return bytes.length;
    };
    {
      using log = eventLog({ json: true, write, now: () => 0, ...(worker && { worker }) });
      calls(log);
      away = false;
    }
    return text.trimEnd().split('\n');
  }

  it('matches its schema, for each event', () => {
    /** What a worker reports, too. */
    const reports = (log: ReturnType<typeof eventLog>) => {
      log.attached(served, { resumed: true, attachMs: 1.5 });
      log.detached(served, 'shutdown');
      log.recovered(served, 0);
      log.error(wrong, served);
      log.mended(wrong, served);
      log.late(1000);
      for (let i = 0; i < 20; i++) log.attached(served, { resumed: false, attachMs: i });
    };
    /** More than the log keeps for a reader. */
    const flood = (log: ReturnType<typeof eventLog>) => {
      for (let i = 0; i < 2000; i++) log.stopping();
    };
    const lines = linesOf((log) => {
      log.ready({ vifs: new Map([[vif.id, served]]), faults: [wrong] } as unknown as Netback);
      log.swept('vif8.0');
      log.workerStarted(2, true);
      log.workerDied(2, 'SIGKILL', ['vif7.0', 'vif8.0']);
      log.tookOver({ pid: 3, from: 2, vifs: ['vif7.0', 'vif8.0'], gapMs: 1.5 });
      log.parked('vif7.0', 'vif7.0 is parked.', 30_000);
      log.stopping();
      reports(log);
    });
    const ofWorker = [...linesOf(reports, 4711), linesOf(flood, 4711).at(-1)!];
    expectDescribed('run-event', [...lines, linesOf(flood).at(-1)!, ...ofWorker]);
    expect(ofWorker.map((line) => JSON.parse(line).worker)).toEqual(ofWorker.map(() => 4711));
  });

  it('leaves out the vif of what concerns the whole daemon', () => {
    const whole = new VifdError('ERR_STORE_GONE', 'The connection to xenstored is lost.');
    const lines = linesOf((log) => {
      log.error(whole, undefined);
      log.mended(whole, undefined);
    });
    const schema = new OutputSchema('run-event');
    for (const line of lines) {
      expect(schema.faultsOf(line)).toEqual([]);
      expect(JSON.parse(line)).not.toHaveProperty('vif');
    }
  });

  it('has the fields in their order, and none that a vif has besides', () => {
    const flow = { ...served.stats.fromGuest, internal: 1 };
    const more = {
      ...served,
      stats: { internal: 1, stalls: 2, toGuest: flow, fromGuest: flow },
    } as unknown as Vif;
    const [line] = linesOf((log) => log.detached(more, 'released'));
    const reasons =
      '{"port":0,"refused":0,"offload":0,"unsupported":0,"buffers":0,"queue":0,"stale":0,"detached":0,"damaged":0}';
    const counts = `{"frames":0,"bytes":0,"filtered":0,"dropped":0,"drops":${reasons},"errors":0,"hookErrors":0,"batches":0}`;
    expect(line.replace(/"timeMs":\d+/, '"timeMs":0')).toBe(
      '{"schemaVersion":1,"timeMs":0,"level":"info","event":"detached","vif":"vif7.0","why":"released",' +
        `"stats":{"fromGuest":${counts},"toGuest":${counts},"stalls":2}}`,
    );
  });
});
