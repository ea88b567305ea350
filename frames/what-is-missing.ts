import { existsSync } from 'node:fs';
import { missingTool, refusedNamespaces } from '../programs/namespaces.js';
import { whyNoScapy } from './references/scapy.js';

const BUILT = ['build/Release/vifd.node', 'build/Release/xensim/libxengnttab.so.1'];

/** @returns what the table needs and this machine lacks, as a sentence; undefined if it lacks nothing. */
export function whatIsMissing(): string | undefined {
  return missingTool() ?? unbuilt() ?? whyNoScapy() ?? refusedNamespaces('run it as root on a host');
}

function unbuilt(): string | undefined {
  const file = BUILT.find((name) => !existsSync(name));
  return file && `${file} is missing: \`npm run build:native\``;
}
