import type { Store, StoreWatch } from '../../xen/seam.js';

/**
 * Watches a path. Resolves after the event with which xenstored begins each watch, and which reports no change (xenstore.txt, WATCH):
 * reads after that miss no change. `onChange` gets the later events.
 */
export async function watchFrom(
  store: Store,
  path: string,
  onChange: (path: string) => void,
): Promise<StoreWatch> {
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  let isNews = false;
  const watch = await store.watch(path, (changed) => {
    if (isNews) onChange(changed);
    isNews = true;
    begin();
  });
  await begun;
  return watch;
}
