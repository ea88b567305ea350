import { type CodeCache, isToBeStored, storeCode } from '../host/code-cache.js';
import { withDefaultFlags } from '../host/v8-flags.js';
import type { VifState } from '../netback/vif-info.js';
import type { Clock } from '../xen/seam.js';

/** By then a first guest's traffic flows, and V8 has compiled what the next start needs. */
const LATER_MS = 5000;

/**
 * Writes the code cache of `vifd run` some seconds after the start, if it is missing or unsuitable, and if a guest is connected: without
 * a guest, V8 has not compiled the code that attaches to guests, and no guest waits for the next start. The event loop stands still for about 6 ms once, while V8
 * serializes the code; threads of Node's pool write it. A failure is not logged, since it costs later starts some ms and nothing else:
 * `vifd check` reports it.
 */
export function storeCodeLater(
  code: CodeCache,
  clock: Clock,
  vifs: () => Iterable<{ readonly state: VifState }>,
): Disposable {
  let timer: Disposable | undefined;
  const content = () => withDefaultFlags(() => code.content());
  const look = () => {
    if ([...vifs()].some(({ state }) => state === 'connected')) void storeCode({ ...code, content });
    else wait();
  };
  const wait = () => {
    timer = clock.after(LATER_MS, look);
  };
  if (isToBeStored(code)) wait();
  return { [Symbol.dispose]: () => timer?.[Symbol.dispose]() };
}
