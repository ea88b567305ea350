/** The supervisor's end of a link, with a worker that a guest has taken control of. */
import { closeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import type { VifdError } from '../../lib/errors.js';
import { LINK_PROTOCOL, MESSAGE_BYTES_MAX } from '../../lib/workers/messages.js';
import { RemoteVifs, vifOfDescriptor } from '../../lib/workers/remote-vifs.js';
import { openCount, withOpen } from '../host/descriptors.js';
import { whyNoAddon } from '../native/reason.js';
import { socketPair } from './socket-pair.js';

const place = { id: 'vif7.0', domid: 7, handle: 0, path: '/local/domain/0/backend/vif/7/0' } as const;
const HELLO = { report: 'hello', protocol: LINK_PROTOCOL, version: '1', pid: 1, vifs: ['vif3.0'] };

describe.skipIf(whyNoAddon())('a worker that is not trusted', () => {
  let before: number;
  let raw: number;
  let remote: RemoteVifs;
  let heard: unknown[];
  let ends: (VifdError | undefined)[];
  const bytes = new Uint8Array(MESSAGE_BYTES_MAX);
  const open = () => {
    const [near, far] = socketPair();
    raw = far;
    [heard, ends] = [[], []];
    const hear =
      (what: string) =>
      (...words: unknown[]) => {
        heard.push([what, ...words]);
      };
    remote = new RemoteVifs(near, {
      onHello: hear('hello'),
      onAttached: hear('attached'),
      onDetached: hear('detached'),
      onChanged: hear('changed'),
      onGone: hear('gone'),
      onLookAgain: hear('look again'),
      onKeep: (name, one) => {
        heard.push(['keep', name]);
        closeSync(one);
      },
      onForget: hear('forget'),
      onKeepChannels: (vif, { descriptor, ports }) => {
        heard.push(['keep channels', vif, ports]);
        closeSync(descriptor);
      },
      onForgetChannels: hear('forget channels'),
      onAlive: hear('alive'),
      onEnd: (error) => ends.push(error),
    });
  };
  const close = () => {
    remote[Symbol.dispose]();
    closeSync(raw);
  };
  beforeEach(() => {
    before = openCount();
    open();
  });
  afterEach(async () => {
    close();
    await turn();
    expect(openCount()).toBe(before);
  });
  const send = (value: unknown, ...descriptors: number[]) =>
    addon().sendMessage(raw, Buffer.from(JSON.stringify(value)), descriptors);
  const calm = async () => {
    for (let i = 0; i < 3; i++) await turn();
  };
  /** @returns the requests and notices that came, by their kinds. */
  const received = () => {
    const values: { ask?: string; tell?: string; number: number }[] = [];
    for (;;) {
      const message = addon().receiveMessage(raw, bytes, 16);
      if (typeof message === 'number') return values;
      for (const one of message.descriptors) closeSync(one);
      values.push(JSON.parse(Buffer.from(bytes.subarray(0, message.bytes)).toString()));
    }
  };
  const refused = async () => {
    await calm();
    expect(ends).toEqual([expect.objectContaining({ code: 'ERR_WORKER' })]);
    expect(remote.ended).toBe(true);
    return ends[0]!.message;
  };

  it('is heard about the vifs that it has', async () => {
    send(HELLO);
    await calm();
    remote.confirm(['vif3.0']);
    send({ report: 'vif', vif: 'vif3.0', state: 'connected' });
    withOpen(['/dev/null'], (one) => send({ report: 'keep', name: 'vif3.0.q1' }, one));
    send({ report: 'forget-descriptor', name: 'vif3.0.q1' });
    const ports = [{ domid: 3, remotePort: 5, port: 9 }];
    withOpen(['/dev/null'], (one) => send({ report: 'keep-channels', vif: 'vif3.0', ports }, one));
    send({ report: 'forget-channels', vif: 'vif3.0' });
    send({ report: 'alive', load: 0.5 });
    await calm();
    expect(remote.vifs).toEqual(new Map([['vif3.0', { state: 'connected', reason: undefined }]]));
    expect(heard).toEqual([
      ['hello', HELLO],
      ['changed', 'vif3.0'],
      ['keep', 'vif3.0.q1'],
      ['forget', 'vif3.0.q1'],
      ['keep channels', 'vif3.0', ports],
      ['forget channels', 'vif3.0'],
      ['alive', 0.5],
    ]);
    expect(remote.hello?.pid).toBe(1);
    // It is not asked for what it has.
    expect(await remote.found({ ...place, id: 'vif3.0' }, false)).toBe('served');
    expect([received(), ends]).toEqual([[], []]);
  });

  it.each([
    ['before its hello', [{ report: 'alive', load: 0 }]],
    ['a second hello', [HELLO, HELLO]],
    ['about another’s vif', [HELLO, { report: 'vif', vif: 'vif4.0', state: 'connected' }]],
    [
      'about a vif that is gone',
      [HELLO, { report: 'gone', vif: 'vif3.0' }, { report: 'gone', vif: 'vif3.0' }],
    ],
    [
      'about another’s attach',
      [HELLO, { report: 'attached', vif: 'vif4.0', how: { resumed: true, attachMs: 1 } }],
    ],
    ['about another’s tap', [HELLO, { report: 'forget-descriptor', name: 'vif4.0' }]],
    ['about another’s channels', [HELLO, { report: 'forget-channels', vif: 'vif4.0' }]],
    ['to no request', [HELLO, { number: 0, result: 'served' }]],
    ['of no kind', [HELLO, { report: 'party' }]],
    ['without the descriptor that it announces', [HELLO, { report: 'keep', name: 'vif3.0' }]],
    [
      'without the channels that it announces',
      [HELLO, { report: 'keep-channels', vif: 'vif3.0', ports: [] }],
    ],
  ])('is not heard any more after a message %s', async (_what, messages) => {
    for (const message of messages) send(message);
    send({ report: 'look-again' });
    await refused();
    expect(heard).not.toContainEqual(['look again']);
  });

  it('replaces no descriptor of another’s tap or channels, and leaves none open', async () => {
    for (const message of [
      { report: 'keep', name: 'vif4.0' },
      { report: 'keep-channels', vif: 'vif4.0', ports: [] },
    ]) {
      send(HELLO);
      withOpen(['/dev/null'], (one) => send(message, one));
      await refused();
      expect(heard).toEqual([['hello', HELLO]]);
      close();
      open();
    }
  });

  it('has no descriptors stored of a vif that it names, until it is known that it serves that', async () => {
    send({ ...HELLO, vifs: ['vif3.0', 'vif4.0', 'vif5.0'] });
    withOpen(['/dev/null'], (one) => {
      // The second one replaces the first.
      for (const name of ['vif3.0', 'vif3.0', 'vif4.0', 'vif5.0', 'vif5.0.q1'])
        send({ report: 'keep', name }, one);
      for (const vif of ['vif3.0', 'vif4.0']) send({ report: 'keep-channels', vif, ports: [] }, one);
    });
    send({ report: 'forget-channels', vif: 'vif3.0' });
    send({ report: 'forget-descriptor', name: 'vif4.0' });
    send({ report: 'gone', vif: 'vif5.0' });
    await calm();
    expect(heard.splice(0)).toEqual([
      ['hello', expect.anything()],
      ['gone', 'vif5.0'],
    ]);
    remote.confirm(['vif3.0']);
    expect(heard.splice(0)).toEqual([
      ['keep', 'vif3.0'],
      ['forget channels', 'vif3.0'],
    ]);
    withOpen(['/dev/null'], (one) => {
      for (const name of ['vif3.0.q1', 'vif4.0']) send({ report: 'keep', name }, one);
    });
    await calm();
    expect([heard, ends]).toEqual([[['keep', 'vif3.0.q1']], []]);
  });

  it('is heard to the end when it has died, without another turn of the event loop', async () => {
    send(HELLO);
    await calm();
    remote.confirm(['vif3.0']);
    heard.length = 0;
    // More than one turn receives.
    withOpen(['/dev/null'], (one) => {
      for (let i = 0; i < 40; i++) send({ report: 'keep', name: 'vif3.0' }, one);
    });
    remote.receiveRest();
    expect(heard).toEqual(Array(40).fill(['keep', 'vif3.0']));
  });

  it('leaves none open that come with a message of another kind, or that are too many', async () => {
    for (const [message, count] of [
      [{ report: 'alive', load: 0 }, 1],
      [{ report: 'keep', name: 'vif3.0' }, 2],
    ] as const) {
      send(HELLO);
      withOpen(['/dev/null'], (one) => send(message, ...Array<number>(count).fill(one)));
      await refused();
      close();
      open();
    }
  });

  it.each([
    ['found', () => remote.found(place, false), [null, { id: 'vif7.0' }, 'maybe']],
    ['show', () => remote.show('vif3.0'), [null, 'served', {}]],
    ['forget', () => remote.forget('vif3.0'), ['served', {}]],
    ['end', () => remote.end(), ['served', {}]],
  ])('does not respond to %s with something else', async (_ask, ask, results) => {
    for (const result of results) {
      send(HELLO);
      const outcome = expect(ask()).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_(STATE|WORKER)$/),
      });
      const [{ number }] = received();
      send({ number, result });
      await refused();
      await outcome;
      close();
      open();
    }
  });

  it('is not asked twice at once about a vif, and keeps what it was asked first', async () => {
    send(HELLO);
    await calm();
    const first = remote.found(place, false);
    await expect(remote.found(place, false)).rejects.toMatchObject({ code: 'ERR_STATE', vif: place.id });
    const [request] = received();
    send({ report: 'vif', vif: place.id, state: 'waiting' });
    send({ number: request!.number, result: 'served' });
    expect(await first).toBe('served');
    expect(ends).toEqual([]);
  });

  it('does not refuse a vif that it serves', async () => {
    send(HELLO);
    const outcome = expect(remote.found(place, false)).rejects.toMatchObject({ code: 'ERR_WORKER' });
    const [{ number }] = received();
    send({ report: 'vif', vif: 'vif7.0', state: 'connected' });
    send({ number, result: 'refused' });
    await refused();
    await outcome;
  });

  it('cannot keep a caller waiting when its link ends', async () => {
    const asked = [remote.found(place, true), remote.show('vif3.0'), remote.forget('vif3.0'), remote.end()];
    const outcomes = Promise.allSettled(asked);
    send({ report: 'party' });
    await refused();
    for (const outcome of [...(await outcomes), ...(await Promise.allSettled([remote.end()]))])
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ERR_STATE' } });
    expect(remote.has('vif7.0')).toBe(false);
  });

  it('hears of changes that may concern its vifs, and of no others', async () => {
    send(HELLO);
    await calm();
    const looked = remote.found(place, true);
    looked.catch(() => {});
    received();
    for (const named of [place, { domid: 7 }, { ...place, id: 'vif3.0' as const, domid: 3 }, undefined])
      remote.changed('/x', named);
    remote.domainGone(3);
    remote.storeReturned();
    expect(received().map(({ tell }) => tell)).toEqual([
      ...Array(4).fill('changed'),
      'domain-gone',
      'store-returned',
    ]);
    for (const named of [{ ...place, id: 'vif8.0' as const }, { domid: 70 }, { domid: 30 }])
      remote.changed('/x', named);
    remote.domainGone(8);
    expect(received()).toEqual([]);
  });

  it('neither throws nor is heard about other vifs, whatever it sends', async () => {
    const vif = fc.constantFrom('vif3.0', 'vif7.0', 'vif4.0');
    const name = fc.constantFrom('vif3.0', 'vif3.0.q1', 'vif7.0', 'vif4.0');
    const message = fc.oneof(
      fc.record({
        report: fc.constantFrom('gone', 'vif'),
        vif,
        state: fc.constantFrom('connected', 'closed'),
      }),
      fc.record({ report: fc.constant('attached'), vif, how: fc.constant({ resumed: true, attachMs: 1 }) }),
      fc.record({ report: fc.constant('detached'), vif, why: fc.constant('failed') }),
      fc.record({ report: fc.constantFrom('keep', 'forget-descriptor'), name }),
      fc.record({
        report: fc.constantFrom('keep-channels', 'forget-channels'),
        vif,
        ports: fc.constant([{ domid: 3, remotePort: 5, port: 9 }]),
      }),
      fc.record({ number: fc.nat(3), result: fc.constantFrom('served', 'refused', null, {}) }),
      fc.record({ number: fc.nat(3), error: fc.constant({ code: 'ERR_RUNNING', message: 'x' }) }),
      fc.jsonValue({ maxDepth: 2 }),
    );
    const step = fc.tuple(message, fc.nat({ max: 1 }));
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        close();
        await turn();
        open();
        send(HELLO);
        const asked = [remote.found(place, true), remote.show('vif3.0'), remote.forget('vif7.0')];
        const outcomes = Promise.allSettled(asked);
        withOpen(['/dev/null'], (one) => {
          for (const [value, count] of steps) send(value, ...Array<number>(count).fill(one));
        });
        await calm();
        expect(JSON.stringify(heard)).not.toContain('vif4.0');
        for (const id of remote.vifs.keys()) expect(['vif3.0', 'vif7.0']).toContain(id);
        for (const error of ends) expect(error?.code).toBe('ERR_WORKER');
        remote[Symbol.dispose]();
        await outcomes;
      }),
      { numRuns: 300 },
    );
  });
});

describe('a descriptor', () => {
  it('belongs to a vif by its name', () => {
    expect(['vif7.0', 'vif7.0.q1', 'vif12.34.q15'].map(vifOfDescriptor)).toEqual([
      'vif7.0',
      'vif7.0',
      'vif12.34',
    ]);
  });
});
