// The same from CommonJS, by require().
import vifd = require('vifd');

import model = require('vifd/model');

async function main(): Promise<void> {
  await using world = model.createModel();
  const ends = vifd.pair();
  await using _netback = await vifd.Netback.open({ xen: world.xen, port: ({ domid }) => ends[domid - 1] });
  const [one, other] = [await world.addGuest(), await world.addGuest()];
  one.send(new Uint8Array(60));
  console.log((await other.receive()).length);
}

void main();
