// For `node --require`: prints which of Node's own modules a program has loaded by its end.
process.on('exit', () => {
  const modules = process.moduleLoadList.map((name) => name.replace('NativeModule ', ''));
  require('node:fs').writeSync(1, `${JSON.stringify({ event: 'modules', modules })}\n`);
});
