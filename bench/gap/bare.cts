// Node alone: what the gaps are compared with.
process.stdout.write('.');
