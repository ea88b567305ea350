/**
 * Resolves at the first SIGTERM or SIGINT, for an orderly stop. The second ends the process at once, which guests survive too.
 */
export function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(1));
        resolve();
      });
    }
  });
}
