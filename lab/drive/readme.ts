import { readFileSync } from 'node:fs';

/** @returns the code blocks of one language in a section of README.md. @param language '' for blocks that name none. */
export function blocksOf(heading: string, language: string): string[] {
  const markdown = readFileSync('/mnt/vifd/README.md', 'utf8');
  const section = markdown.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const blocks = section.matchAll(/^```(\w*)\n(.*?)^```/gms);
  return [...blocks].filter((match) => match[1] === language).map((match) => match[2] ?? '');
}
