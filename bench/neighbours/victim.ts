/**
 * The victim as a process: `victim.js DOMID BACKEND STORE LIBRARIES`. Echoes datagrams; sends a message to its parent
 * when it is connected, and ends when its backend breaks the protocol.
 */
import { Netfront } from '../../lib/testing/netfront/index.js';
import { openXen } from '../../lib/xen/native/open.js';
import { EchoPort } from './echo-port.js';

const [domidText, backendDomid, storePath = '', libraries = ''] = process.argv.slice(2);
const domid = Number(domidText);

const CONNECT_MS = 20_000;

const xen = await openXen({ domid, storePath, libraries });
const front = await Netfront.connect({
  xen,
  domid,
  handle: 0,
  backendDomid: Number(backendDomid),
  port: new EchoPort(),
  keepGrants: true,
  signal: AbortSignal.timeout(CONNECT_MS),
  onViolation: (violation) => {
    throw new Error(`the backend broke the protocol: ${JSON.stringify(violation)}`);
  },
});
await front.connected({ timeoutMs: CONNECT_MS });
process.send?.({ connected: true });
// It ends with its parent.
process.on('disconnect', () => process.exit());
