import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** What the demo starts, by its place in the package. */
export const BACKEND_PROGRAM: string = inPackage('dist/vifd.cjs');
export const STANDBY_PROGRAM: string = inPackage('build/demo/demo/standby.js');
export const GUEST_PROGRAM: string = inPackage('dist/testing/netfront/guest.js');
export const TRAFFIC_PROGRAM: string = inPackage('build/demo/demo/traffic.js');
export const DEMO_PROGRAM: string = inPackage('build/demo/demo/main.js');
export const XENSIM_LIBRARIES: string = inPackage('build/Release/xensim');

/** This file is in demo/, and compiled in build/demo/demo/. */
function inPackage(path: string): string {
  const folders = ['../', '../../../'].map((up) => fileURLToPath(new URL(up, import.meta.url)));
  const root = folders.find((folder) => existsSync(`${folder}package.json`)) ?? folders[0];
  return `${root}${path}`;
}
