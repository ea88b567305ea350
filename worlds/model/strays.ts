/**
 * Runs something to its end. What it throws, and rejections meanwhile that nobody awaits, are told and not thrown: in a
 * backend either would end the process.
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
