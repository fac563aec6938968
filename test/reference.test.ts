import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { referenceParts } from './reference-page.ts';

// `npm run docs` writes it.
it('docs/reference.md has every command and option as the program describes them', async () => {
  const page = readFileSync(join(import.meta.dirname, '../docs/reference.md'), 'utf8');
  const made = Object.entries(await referenceParts()).reduce((text, [name, part]) => {
    const marked = new RegExp(`(<!-- ${name}: npm run docs -->\n).*?(\n<!-- end -->)`, 's');
    expect(text, `the place for ${name}`).toMatch(marked);
    return text.replace(marked, (_, begin, end) => `${begin}\n${part}\n${end}`);
  }, page);
  await expect(made).toMatchFileSnapshot('../docs/reference.md');
});
