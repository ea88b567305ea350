import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { xensimMissing } from '../../worlds/model/machine.js';
import { EmbedWorld } from './embed-world.js';

const SERVE = `
  import { Netback, openXen, pair } from 'vifd';
  const xen = await openXen(xenOptions);
  const netback = await Netback.open({ xen, port: () => pair()[0], journals: false });
  console.log([...netback.vifs.values()].map(({ id, state }) => id + ' ' + state).join());
`;

describe.skipIf(xensimMissing !== undefined)('a program that embeds vifd, over xensim', () => {
  let world: EmbedWorld;
  beforeEach(async () => {
    world = await EmbedWorld.open();
  });
  afterEach(() => world[Symbol.asyncDispose]());

  it('ends by itself once its netback and its Xen are disposed of', async () => {
    await world.guest(7);
    const dispose =
      'await netback[Symbol.asyncDispose](); await xen[Symbol.asyncDispose](); console.log("done");';
    expect(await world.program(SERVE + dispose).ended).toEqual({
      code: 0,
      output: 'vif7.0 connected\ndone\n',
      errors: '',
    });
  });

  it('ends by itself if it never served a vif, or if its signal was aborted', async () => {
    const text = `
      import { Netback, openXen, pair } from 'vifd';
      const xen = await openXen(xenOptions);
      const stop = new AbortController();
      await Netback.open({ xen, port: () => pair()[0], journals: false, signal: stop.signal });
      stop.abort();
      await xen[Symbol.asyncDispose]();
      console.log('done');
    `;
    expect(await world.program(text).ended).toEqual({ code: 0, output: 'done\n', errors: '' });
  });
});
