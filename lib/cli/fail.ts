import { isJournald } from '../daemon/journald.js';
import { VifdError } from '../errors.js';
import { jsonLine, printable } from '../text.js';
import { EXIT_FAILED, EXIT_NOT_PERMITTED, EXIT_NOT_RUNNING, EXIT_USAGE } from './exit.js';

/** A service manager starts the next process at once (`RestartSec=0` in systemd/vifd.service), to keep gaps short. */
const NEXT_START_MS = 1000;

/** If `vifd run` could not start, delays its end by a second under a service manager, which would start it again without a pause. */
export function pauseIfManaged(): void {
  if (process.env.NOTIFY_SOCKET) setTimeout(() => {}, NEXT_START_MS);
}

/**
 * Prints an error: one line for people, or with --json one object for programs.
 * @returns the exit code.
 */
export function fail(error: unknown): number {
  const code = error instanceof VifdError ? error.code : 'ERR_STATE';
  const message = error instanceof Error ? error.message : String(error);
  if (process.argv.includes('--json')) {
    process.stderr.write(`${jsonLine({ schemaVersion: 1, error: { code, message } })}\n`);
  } else process.stderr.write(`${isJournald(2) ? '<3>' : ''}vifd: ${printable(message)}\n`);
  if (code === 'ERR_ARGUMENT') return EXIT_USAGE;
  if (code === 'ERR_NOT_RUNNING') return EXIT_NOT_RUNNING;
  const errno = error instanceof VifdError ? error.errno : undefined;
  return errno === 'EACCES' || errno === 'EPERM' ? EXIT_NOT_PERMITTED : EXIT_FAILED;
}
