import { exchange } from './echo.js';

/**
 * Runs `exchange` from the domain in which it is started: `node endpoint.js ADDRESS SECONDS`. Prints the counts as JSON, and ends with 1 if
 * a connection broke or a byte is wrong.
 */
const [address = '', seconds = '10'] = process.argv.slice(2);
const endMs = performance.now() + Number(seconds) * 1000;

process.stdout.write(`${JSON.stringify(await exchange(address, () => performance.now() >= endMs))}\n`);
