import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout, both for a file in worlds/ and for its compiled form in build/NAME/worlds/. */
export const ROOT: string = checkoutOf(dirname(fileURLToPath(import.meta.url)));

export const BACKEND_PROGRAM: string = join(ROOT, 'dist/vifd.cjs');
export const GUEST_PROGRAM: string = join(ROOT, 'dist/testing/netfront/guest.js');
export const STORE_PROGRAM: string = join(ROOT, 'dist/testing/xenstored/serve.js');
/** The simulated Xen's libraries. */
export const XENSIM_LIBRARIES: string = join(ROOT, 'build/Release/xensim');

/** @returns the nearest folder upwards that holds package.json. */
function checkoutOf(folder: string): string {
  const isRoot = existsSync(join(folder, 'package.json')) || dirname(folder) === folder;
  return isRoot ? folder : checkoutOf(dirname(folder));
}
