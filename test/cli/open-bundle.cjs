// Opens a bundle of a vifd.cjs as a start does, and prints the state of its code cache. `store` also writes the cache, and prints why not.
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
  console.log(
    JSON.stringify({ file, state, found: problem?.found, remedy: problem?.remedy, failure, exported }),
  );
}

function become(user) {
  process.setgroups([]);
  process.setgid(user);
  process.setuid(user);
}

void main();
