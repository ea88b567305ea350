// Opens a bundle of a vifd.cjs as a start does, and prints the state of its code cache. `store` also writes the cache, and prints why not.
// `store-later` has it written as by a `vifd run` that serves a guest.
const { pathToFileURL } = require('node:url');
const [, , program, name, step, uid] = process.argv;
const { open } = require(program);

async function main() {
  const { storeCode } = await import(pathToFileURL(`${__dirname}/../../dist/host/code-cache.js`).href);
  if (uid !== undefined) become(Number(uid));
  const { code, load } = open(name);
  const { file, state, problem } = code;
  const failure = step === 'store' ? await storeCode(code) : undefined;
  const exported = Object.keys(load());
  if (step === 'store-later') await storeLater(code);
  console.log(
    JSON.stringify({ file, state, found: problem?.found, remedy: problem?.remedy, failure, exported }),
  );
}

async function storeLater(code) {
  const imported = (file) => import(pathToFileURL(`${__dirname}/../../dist/${file}`).href);
  const { inlineMore, stopNewSpaceGrowth } = await imported('host/v8-flags.js');
  const { storeCodeLater } = await imported('daemon/code-later.js');
  inlineMore();
  stopNewSpaceGrowth();
  const clock = { now: () => 0, after: (_, then) => setImmediate(then) };
  storeCodeLater(code, clock, () => [{ state: 'connected' }]);
}

function become(user) {
  process.setgroups([]);
  process.setgid(user);
  process.setuid(user);
}

void main();
