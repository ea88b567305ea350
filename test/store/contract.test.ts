import { storeContract } from './contract.js';
import { inProcessWorld, SocketWorld } from './world.js';

storeContract('the model’s store, in the process', inProcessWorld);
storeContract('a StoreClient, over a socket to a StoreServer', () => SocketWorld.make());
