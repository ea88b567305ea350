// Node alone: what the gaps, and with an argument the ends, are compared with.
process.stdout.write('.');
if (process.argv.length > 2) {
  process.on('SIGTERM', () => process.exit(0));
  setInterval(() => {}, 1000);
}
