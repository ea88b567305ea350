// A lab in a unit test of your own: two guests of the model, and your code between them. Run: node --test lab.js
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FrameFilter, Netback, pair } from 'vifd';
import { createModel, type Model } from 'vifd/model';

/** The code under test: guests send frames of at most 100 bytes. */
const onlySmall: FrameFilter = (frame, direction) =>
  direction === 'from-guest' && frame.length > 100 ? 'drop' : 'pass';

/** Two guests, joined by a pair, whose frames pass the filter. */
async function joined(model: Model, filter: FrameFilter) {
  const ends = pair();
  const netback = await Netback.open({ xen: model.xen, port: ({ domid }) => ends[domid - 1], filter });
  return { netback, alice: await model.addGuest({ domid: 1 }), bob: await model.addGuest({ domid: 2 }) };
}

test('a small frame arrives, a large one does not, and the guests find no violation', async () => {
  await using model = createModel();
  const { netback, alice, bob } = await joined(model, onlySmall);
  await using _netback = netback;
  alice.send(new Uint8Array(1500));
  alice.send(new Uint8Array(60));
  assert.equal((await bob.receive()).length, 60);
  assert.equal(netback.vifs.get(alice.id)?.stats.fromGuest.filtered, 1);
  assert.equal(alice.front.violations.total + bob.front.violations.total, 0);
});

test('guests stay connected while the backend is killed, and the next one serves them', async () => {
  await using model = createModel();
  const { alice, bob } = await joined(model, onlySmall);
  model.hypervisor.kill(model.xen);
  const ends = pair();
  const xen = model.hypervisor.open(0);
  await using _next = await Netback.open({ xen, port: ({ domid }) => ends[domid - 1], filter: onlySmall });
  alice.send(new Uint8Array(61));
  assert.equal((await bob.receive()).length, 61);
});
