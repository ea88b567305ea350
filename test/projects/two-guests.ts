// What one guest of the model sends, the other receives. Prints the length of the frame.
import { Netback, pair } from 'vifd';
import { createModel } from 'vifd/model';

await using model = createModel();
const ends = pair();
await using _netback = await Netback.open({ xen: model.xen, port: ({ domid }) => ends[domid - 1] });
const [one, other] = [await model.addGuest(), await model.addGuest()];
one.send(new Uint8Array(60));
console.log((await other.receive()).length);
