import type { Store, StoreWatch } from '../xen/types.js';

/**
 * Watches a path. Resolves after the event that each watch begins with, which is no change: what is read from then on is news.
 * `onChange` gets the events after it.
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
