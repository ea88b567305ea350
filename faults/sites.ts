import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A call that reports a fault, reports its end, or schedules a retry. */
export interface Site {
  /** Below lib/, e.g. `netback/vif/vif.ts`. */
  readonly file: string;
  readonly line: number;
  readonly kind: 'report' | 'end' | 'retry';
  /** The call as it stands in the source's first line. */
  readonly source: string;
  /** The same in the compiled file: where the expression begins and ends. */
  readonly from: number;
  readonly to: number;
  /** The compiled expression. */
  readonly call: string;
  /** Whether `await` stands before it. */
  readonly awaited: boolean;
}

const CALLS: readonly { readonly kind: Site['kind']; readonly pattern: RegExp }[] = [
  // Definitions of methods, which have no receiver, do not match. Waits for a guest's rate or buffers (`waitMs`) are no retries.
  { kind: 'report', pattern: /(?<![\w$.#])(?:[\w$#]+\.)*(?:#faults|faults)\.begin\(/g },
  { kind: 'report', pattern: /(?<![\w$.#])this\.#begin\((?=['`])/g },
  { kind: 'report', pattern: /(?<![\w$.#])(?:[\w$#]+\.)+(?:#?onError|onHostFault)\(/g },
  { kind: 'report', pattern: /(?<![\w$.#])(?:[\w$#]+\.)*onFault\?\.\(/g },
  { kind: 'report', pattern: /(?<![\w$.#])(?:log|plain)\.(?:error|mended)\(/g },
  { kind: 'end', pattern: /(?<![\w$.#])(?:[\w$#]+\.)*(?:#faults|faults)\.end\(/g },
  { kind: 'retry', pattern: /(?<![\w$.#])(?:[\w$#]+\.)+again\(\)/g },
];

/** Folders that belong to tests and the demo, not to vifd. */
const NOT_VIFD = /^(demo|netfront|testing|xen\/model)\//;

/** Finds all sites by their pattern, so that new ones are included. @throws Error if source and compiled file differ in number. */
export function findSites(lib: string, dist: string): Site[] {
  const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !NOT_VIFD.test(file))
    .sort();
  return files.flatMap((file) => sitesIn(file, join(lib, file), join(dist, file.replace(/\.ts$/, '.js'))));
}

function sitesIn(file: string, source: string, compiled: string): Site[] {
  const text = withoutComments(readFileSync(source, 'utf8'));
  if (!CALLS.some(({ pattern }) => text.search(pattern) >= 0)) return [];
  const js = readFileSync(compiled, 'utf8');
  const plain = withoutComments(js);
  return CALLS.flatMap(({ kind, pattern }) => {
    const [inSource, inCompiled] = [text, plain].map((code) =>
      [...code.matchAll(pattern)].map(({ index }) => index),
    );
    if (inSource.length !== inCompiled.length)
      throw new Error(`${file} and its compiled file differ: build again`);
    return inSource.map((at, i): Site => {
      const from = inCompiled[i] as number;
      const to = endOfCall(plain, plain.indexOf('(', from));
      return {
        file,
        line: text.slice(0, at).split('\n').length,
        kind,
        source: (text.slice(at).split('\n')[0] ?? '').trim(),
        from,
        to,
        call: js.slice(from, to),
        awaited: /await $/.test(plain.slice(0, from)),
      };
    });
  });
}

/** Replaces comments by spaces, so that offsets stay the same. No string in lib/ looks like a comment. */
function withoutComments(code: string): string {
  const blank = (text: string) => text.replace(/[^\n]/g, ' ');
  return code
    .replace(/\/\*[\s\S]*?\*\//g, blank)
    .replace(/(^|[^:'"`\\])\/\/.*$/gm, (text, before) => before + blank(text.slice(before.length)));
}

/** Returns the offset behind the parenthesis that closes the one at `open`. Quoted ones do not count. */
function endOfCall(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    const char = code[at] as string;
    if (char === "'" || char === '"' || char === '`') at = endOfString(code, at);
    else if (char === '(') depth += 1;
    else if (char === ')') depth -= 1;
    if (depth === 0) return at + 1;
  }
  throw new Error('a call has no end');
}

function endOfString(code: string, start: number): number {
  const quote = code[start];
  for (let at = start + 1; at < code.length; at++) {
    if (code[at] === '\\') at += 1;
    else if (code[at] === quote) return at;
    // An expression in a template's braces may contain strings.
    else if (quote === '`' && code.startsWith('${', at)) at = endOfBraces(code, at + 1);
  }
  throw new Error('a string has no end');
}

function endOfBraces(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    const char = code[at] as string;
    if (char === "'" || char === '"' || char === '`') at = endOfString(code, at);
    else if (char === '{') depth += 1;
    else if (char === '}') depth -= 1;
    if (depth === 0) return at;
  }
  throw new Error('braces have no end');
}
