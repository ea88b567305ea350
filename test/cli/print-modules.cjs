// For `node --require`: prints which of Node's own modules a program has loaded when it asks for `v8`, and by its end.
const print = (event) => {
  const modules = process.moduleLoadList.map((name) => name.replace('NativeModule ', ''));
  require('node:fs').writeSync(1, `${JSON.stringify({ event, modules })}\n`);
};
const { getBuiltinModule } = process;
process.getBuiltinModule = (name) => {
  if (name === 'node:v8') print('v8');
  return getBuiltinModule(name);
};
process.on('exit', () => print('modules'));
