import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import type { VifDetails } from '../../lib/netback/show.js';
import { fromWorker, toWorker } from '../../lib/workers/checked.js';
import {
  type FromWorker,
  LINK_PROTOCOL,
  REASON_MAX,
  type ToWorker,
  WORKER_VIFS_MAX,
} from '../../lib/workers/messages.js';

const place = { id: 'vif7.0', domid: 7, handle: 0, path: '/local/domain/0/backend/vif/7/0' } as const;
const PORT = { domid: 7, remotePort: 9, port: 33 };
const drops = {
  ...{ port: 1, refused: 0, offload: 0, unsupported: 0, buffers: 0 },
  ...{ queue: 0, stale: 0, detached: 0, damaged: 0 },
};
const flow = { frames: 3, bytes: 180, filtered: 0, dropped: 1, drops, errors: 0, hookErrors: 0, batches: 2 };
const stats = { fromGuest: flow, toGuest: flow, stalls: 0 };
const indices = { reqProd: 5, reqCons: 4, rspProd: 4, reqEvent: 6, rspEvent: 1, size: 256 };
const details: VifDetails = {
  ...{ id: 'vif7.0', domid: 7, handle: 0, mac: '00:16:3e:00:00:07', bridge: 'br0', mtu: 1500 },
  ...{ state: 'connected', reason: 'why', faults: [{ code: 'ERR_TAP', message: 'lost' }], port: 'vif7.0' },
  ...{ link: 'up', portDropped: 0, stats },
  connection: {
    ...{ attachedMs: 1.5, resumes: 2, payload: 'copy', journal: true, xdpHeadroom: 0 },
    negotiated: {
      ...{ scatterGather: true, gsoV4: true, gsoV6: false, checksumV4: true },
      ...{ checksumV6: true, rxNotify: true, splitChannels: false, controlRing: true },
    },
    rate: { bytes: 1000, intervalMs: 50, leftBytes: 20 },
    multicast: { requested: true, filtering: false, addresses: ['01:00:5e:00:00:01'] },
    hash: { algorithm: 'toeplitz', types: ['IPv4/TCP'], key: '00ff', mapping: [0, 1] },
    queues: [
      {
        ...{ txRingRef: 8, rxRingRef: 9, txPort: 3, rxPort: 3, fromGuest: indices, toGuest: indices },
        ...{ pendingFrames: 0, stagedGrants: 0, stalled: false, stats },
      },
    ],
  },
};

const FROM: FromWorker[] = [
  {
    report: 'hello',
    protocol: LINK_PROTOCOL,
    version: '0.1.0',
    pid: 12,
    vifs: ['vif7.0', 'vif12.3'],
  },
  { report: 'vif', vif: 'vif7.0', state: 'stopped', reason: 'a bad frame' },
  { report: 'attached', vif: 'vif7.0', how: { resumed: true, attachMs: 0.7 } },
  { report: 'detached', vif: 'vif7.0', why: 'protocol-error' },
  { report: 'gone', vif: 'vif7.0' },
  { report: 'look-again' },
  { report: 'keep', name: 'vif7.0.q15' },
  { report: 'forget-descriptor', name: 'vif7.0' },
  { report: 'keep-channels', vif: 'vif7.0', ports: [PORT] },
  { report: 'forget-channels', vif: 'vif7.0' },
  { report: 'alive', load: 0.25 },
  { number: 1, result: 'served' },
  { number: 2, result: null },
  { number: 3, result: details },
  { number: 4, error: { code: 'ERR_RUNNING', message: 'another process', errno: 'EBUSY', vif: 'vif7.0' } },
];

const TO: ToWorker[] = [
  {
    ...{ ask: 'found', number: 1, place, connectedOnly: true },
    ...{ descriptors: ['vif7.0', 'vif7.0.q1'], ports: [PORT], from: 4711 },
  },
  { ask: 'show', number: 2, vif: 'vif7.0' },
  { ask: 'forget', number: 3, vif: 'vif7.0' },
  { ask: 'end', number: 4 },
  { tell: 'changed', path: `${place.path}/state`, named: place },
  { tell: 'changed', path: '/local/domain/0/backend/vif/7', named: { domid: 7 } },
  { tell: 'changed', path: '/local/domain/0/backend/vif', named: undefined },
  { tell: 'domain-gone', domid: 7 },
  { tell: 'store-returned' },
];

const DIRECTIONS = [
  ['a worker', fromWorker as (value: unknown) => unknown, FROM as unknown[]],
  ['a supervisor', toWorker as (value: unknown) => unknown, TO as unknown[]],
] as const;

/** What arrives of a value. */
const crossed = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** The paths of all values in a message. */
function pathsIn(value: unknown, at: readonly string[] = []): (readonly string[])[] {
  const below = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return [at, ...below.flatMap(([key, one]) => pathsIn(one, [...at, key]))];
}

/** A copy with another value at a path. */
function withAt(value: unknown, [key, ...rest]: readonly string[], other: unknown): unknown {
  if (key === undefined) return other;
  const copy = structuredClone(value) as Record<string, unknown>;
  copy[key] = withAt(copy[key], rest, other);
  return copy;
}

/** @returns the checked message, or undefined if it is refused. Anything but an ERR_WORKER is thrown. */
function checked(check: (value: unknown) => unknown, value: unknown): unknown {
  try {
    return check(value);
  } catch (error) {
    expect(error).toBeInstanceOf(VifdError);
    expect(error).toMatchObject({ code: 'ERR_WORKER', message: expect.stringMatching(/^.{1,500}$/su) });
    return undefined;
  }
}

/** All that JSON can have. `{"__proto__": …}` is among it. */
const json = fc.jsonValue({ maxDepth: 4 });

describe.each(DIRECTIONS)('messages of %s', (_who, check, samples) => {
  it.each(samples.map((sample) => [JSON.stringify(sample).slice(0, 60), sample]))('pass: %s', (_, sample) => {
    expect(check(crossed(sample))).toEqual(crossed(sample));
  });

  it('lose fields that are not theirs', () => {
    for (const sample of samples) {
      const more = { ...(crossed(sample) as object), more: 1, constructor: 2 };
      expect(check(more)).toEqual(crossed(sample));
    }
  });

  it('are refused, or are whole, whatever comes', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(checked(check, value)).toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });

  it('are refused, or are whole, if any part of them is anything', () => {
    const places = samples.flatMap((sample) => pathsIn(crossed(sample)).map((path) => ({ sample, path })));
    fc.assert(
      fc.property(fc.constantFrom(...places), json, ({ sample, path }, other) => {
        const result = checked(check, crossed(withAt(crossed(sample), path, other)));
        // What passes is what such a message may be: checking it again changes nothing.
        if (result !== undefined) expect(check(crossed(result))).toEqual(result);
      }),
      { numRuns: 5000 },
    );
  });

  it('are refused if a part is missing that they need', () => {
    // All of a sample's parts but these are needed. Without `id` the vif that changed is a domain.
    const optional =
      /(^|\.)(named|reason|bridge|mtu|port|link|connection|rate|hash|errno|error\.vif|from|named\.id)$/;
    for (const sample of samples)
      for (const path of pathsIn(crossed(sample))) {
        if (path.length === 0 || optional.test(path.join('.')) || /^\d+$/.test(path.at(-1)!)) continue;
        if (path.join('.') === 'error') continue;
        const result = checked(check, crossed(withAt(crossed(sample), path, undefined)));
        expect(result, `${JSON.stringify(sample)} without ${path.join('.')}`).toBeUndefined();
      }
  });
});

describe('messages of a worker', () => {
  const refused = (value: unknown) =>
    expect(checked(fromWorker, value), JSON.stringify(value)).toBeUndefined();

  it('name vifs and descriptors as vifd does', () => {
    for (const vif of [
      'vif07.0',
      'vif7',
      'vif7.0.',
      'vif7.0\n',
      '../vif7.0',
      'vif-1.0',
      ' vif7.0',
      `vif7.${'1'.repeat(40)}`,
    ]) {
      refused({ report: 'gone', vif });
      refused({ report: 'keep', name: vif });
    }
    for (const name of ['vif7.0.q0', 'vif7.0.q16', 'vif7.0.q', 'vif7.0:1', 'vif7.0.q1.q2'])
      refused({ report: 'keep', name });
  });

  it('have numbers that are numbers', () => {
    for (const load of [-0.1, 1.1, '0.5', null]) refused({ report: 'alive', load });
    for (const number of [-1, 1.5, 2 ** 60, '1', null]) refused({ number, result: null });
    // 1e999 is JSON, and Infinity in JavaScript.
    refused(JSON.parse('{"report":"attached","vif":"vif7.0","how":{"resumed":true,"attachMs":1e999}}'));
  });

  it('have lists that end', () => {
    const hello = FROM[0] as object;
    const vifs = Array.from({ length: WORKER_VIFS_MAX }, (_, i) => `vif${i}.0`);
    expect(fromWorker({ ...hello, vifs })).toEqual({ ...hello, vifs });
    refused({ ...hello, vifs: [...vifs, 'vif9999.0'] });
  });

  it('have reasons and errors that end', () => {
    const reason = 'x'.repeat(REASON_MAX);
    const vif = (text: string) => ({ report: 'vif', vif: 'vif7.0', state: 'stopped', reason: text });
    expect(fromWorker(vif(reason))).toEqual(vif(reason));
    refused(vif(`${reason}x`));
    refused({ number: 1, error: { code: 'ERR_TAP', message: `${reason}x` } });
  });

  it('have no kind that an object of JavaScript has anyway', () => {
    for (const kind of ['constructor', '__proto__', 'toString']) refused({ report: kind });
  });
});
