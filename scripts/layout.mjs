/** `npm run layout`: writes the layout of the journals, as it is in the built lib/durable/layout.ts, into docs/journal.md. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { withLayoutTable } from './layout/table.mjs';

const built = new URL('../dist/durable/layout.js', import.meta.url);
if (!existsSync(fileURLToPath(built))) {
  console.error('layout: nothing is built yet: npm run build:ts');
  process.exit(1);
}
const { LAYOUTS } = await import(built.href);
const document = fileURLToPath(new URL('../docs/journal.md', import.meta.url));
writeFileSync(document, withLayoutTable(readFileSync(document, 'utf8'), LAYOUTS));
