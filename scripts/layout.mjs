/** `npm run layout`: writes the layout of the journals, as it is in the built lib/durable/layout.ts, into docs/design.md. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { withLayoutTable } from './layout/table.mjs';

const built = new URL('../dist/durable/layout.js', import.meta.url);
if (!existsSync(fileURLToPath(built))) {
  console.error('layout: nothing is built yet: npm run build:ts');
  process.exit(1);
}
const { LAYOUTS } = await import(built.href);
const design = fileURLToPath(new URL('../docs/design.md', import.meta.url));
writeFileSync(design, withLayoutTable(readFileSync(design, 'utf8'), LAYOUTS));
