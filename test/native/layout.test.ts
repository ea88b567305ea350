import { describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import * as batch from '../../lib/ports/frame-batch.js';
import * as vnet from '../../lib/protocol/vnet.js';
import * as xen from '../../lib/xen/seam.js';
import { whyNoAddon } from './reason.js';

describe.skipIf(whyNoAddon())('the words that TypeScript and native code share', () => {
  it('have the same figures on both sides', () => {
    const native = addon().layout();
    const ours: Record<string, unknown> = { ...xen, ...batch, ...vnet };
    const figures = Object.fromEntries(Object.keys(native).map((name) => [name, ours[name]]));
    expect(figures).toEqual(native);
  });

  it('are all of them compared', () => {
    const names = Object.keys({ ...xen, ...batch, ...vnet }).filter((name) =>
      /^(OP|OPS|FRAME|FRAMES)_/.test(name),
    );
    expect(Object.keys(addon().layout())).toEqual(expect.arrayContaining(names));
  });
});
