import { it } from 'vitest';
import { storeIo } from '../../lib/xen/native/readiness.js';
import { whyNoAddon } from '../native/reason.js';
import { storeContract } from './contract.js';
import { inProcessWorld, SocketWorld } from './socket-world.js';

storeContract('the model’s store, in the process', inProcessWorld);
storeContract('a StoreClient, over a socket to a StoreServer', () => SocketWorld.make());
if (whyNoAddon() === undefined) {
  storeContract('a StoreClient, over the addon’s socket to a StoreServer', () => SocketWorld.make(storeIo));
} else it.skip(`a StoreClient over the addon’s socket: ${whyNoAddon()}`, () => {});
