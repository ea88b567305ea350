/**
 * Runs a function to its end. Reports errors that it throws, and unhandled rejections meanwhile, and does not throw
 * them: in a backend either would end the process.
 */
export async function withoutStrays(
  run: () => Promise<void>,
  onThrown: (what: string) => void,
): Promise<void> {
  const thrown = (error: unknown) =>
    onThrown(`thrown: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  process.on('unhandledRejection', thrown);
  try {
    await run();
  } catch (error) {
    thrown(error);
  } finally {
    process.off('unhandledRejection', thrown);
  }
}
