/** What keeps the client from a new connection, and what to do about it. */
import { hostRemedy, unended, VifdError } from '../../errors.js';

export const START_XENSTORED = 'start xenstored';

/** How it shows that no xenstored serves at a path; one that hangs is among them. */
const ABSENT: ReadonlySet<string> = new Set([
  ...['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EAGAIN', 'ETIMEDOUT', 'ENXIO', 'ENODEV'],
]);

export interface Hindrance {
  readonly what: string;
  readonly remedy: string;
  readonly errno: string;
}

/** Whether an errno tells that no xenstored serves, and nothing else: no errno does too. */
export function isAbsence(errno: string | undefined): boolean {
  return errno === undefined || ABSENT.has(errno);
}

/** @param error what a try to connect ended with. */
export function hindranceOf(error: unknown): Hindrance {
  if (isRefusal(error)) {
    const { errno, message } = error;
    const what = `xenstored is there and refuses a watch that vifd needs (${errno})`;
    return { what, remedy: unended(message), errno };
  }
  const errno = errnoOr(failedWith(error), 'ECONNREFUSED');
  if (isAbsence(errno))
    return { what: `No xenstored can be connected to (${errno})`, remedy: START_XENSTORED, errno };
  return { what: `xenstored cannot be connected to (${errno})`, remedy: hostRemedy(errno), errno };
}

/** An ERROR reply to what a new connection was asked; not the loss of the connection. */
function isRefusal(error: unknown): error is VifdError & { errno: string } {
  return error instanceof VifdError && error.code === 'ERR_STORE' && error.cause === undefined;
}

/** What stands in the way: of several paths, the one where something else is wrong than that no xenstored is there. */
function failedWith(error: unknown): unknown {
  const { cause } = error as Error;
  if (!(cause instanceof AggregateError)) return cause ?? error;
  const { errors } = cause;
  return errors.find((one) => !isAbsence(errnoOr(one, 'ECONNREFUSED'))) ?? errors[0];
}

/** The errno of a system error. */
export function errnoOr(error: unknown, fallback: string): string {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : fallback;
}
