/** Exit codes; docs/errors.md has the table. */
export const EXIT_FAILED = 1;
/** Unknown verb or option, or a value that cannot be used. */
export const EXIT_USAGE = 2;
/** `vifd check`: something that `vifd run` needs is missing. */
export const EXIT_NOT_READY = 3;
/** No `vifd run` serves from that directory, and one is needed. */
export const EXIT_NOT_RUNNING = 4;
export const EXIT_NOT_PERMITTED = 5;
