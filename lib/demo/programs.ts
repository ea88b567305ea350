import { fileURLToPath } from 'node:url';

/** What the demo starts, by its place in the package. */
export const BACKEND_PROGRAM: string = inPackage('dist/vifd.cjs');
export const STANDBY_PROGRAM: string = inPackage('dist/demo/standby.js');
export const GUEST_PROGRAM: string = inPackage('dist/netfront/guest.js');
export const TRAFFIC_PROGRAM: string = inPackage('dist/demo/traffic.js');
export const DEMO_PROGRAM: string = inPackage('dist/demo/main.js');
export const XENSIM_LIBRARIES: string = inPackage('build/Release/xensim');

function inPackage(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
