/** `npm run errors`: writes the table of error codes, as it is in the built lib/error-table.ts, into docs/errors.md. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { withTable } from './errors/table.mjs';

const built = new URL('../dist/error-table.js', import.meta.url);
if (!existsSync(fileURLToPath(built))) {
  console.error('errors: nothing is built yet: npm run build:ts');
  process.exit(1);
}
const { ERROR_ROWS } = await import(built.href);
const page = fileURLToPath(new URL('../docs/errors.md', import.meta.url));
writeFileSync(page, withTable(readFileSync(page, 'utf8'), ERROR_ROWS));
