import { readFileSync } from 'node:fs';

/** A program that a document shows. */
export interface DocExample {
  /** The heading above it. */
  readonly heading: string;
  readonly code: string;
  /** What the comments behind its calls of `console.log` have it print, in their order. */
  readonly prints: readonly string[];
}

/** Returns the TypeScript programs of a document. */
export function examplesIn(document: string): DocExample[] {
  let heading = '';
  const found: DocExample[] = [];
  for (const [, title, code] of readFileSync(document, 'utf8').matchAll(
    /^#+ (.*)$|^```ts\n([\s\S]*?)^```$/gm,
  )) {
    if (title !== undefined) heading = title;
    else if (code !== undefined) found.push({ heading, code, prints: printsOf(code) });
  }
  return found;
}

/** Returns what the comments behind a program's calls of `console.log` have it print. */
export function printsOf(code: string): string[] {
  return [...code.matchAll(/console\.log\(.*\/\/ (.*)$/gm)].map(([, text = '']) => text);
}

/** Returns the sections of a chapter (a heading of level 2): each heading of level 3 with the text up to the next one. */
export function sectionsOf(document: string, chapter: string): Map<string, string> {
  const chapters = readFileSync(document, 'utf8').split(/^## /m);
  const text = chapters.find((begins) => begins.startsWith(`${chapter}\n`)) ?? '';
  const parts = text.split(/^### (.*)$/m);
  return new Map(parts.flatMap((part, i) => (i % 2 === 1 ? [[part, parts[i + 1] ?? '']] : [])));
}
