import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROXY_OPTIONS } from '../src/settings/options.ts';

const root = join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const documents = [
  ...['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'],
  ...readdirSync(join(root, 'docs')).map((file) => `docs/${file}`),
];
const all = (pattern: RegExp, text: string) =>
  [...text.matchAll(pattern)].map(([, found = '']) => found);

describe.each(documents)('%s', (document) => {
  const text = read(document);

  it('has links that lead somewhere', () => {
    for (const link of all(/\]\(([^)\s]+)\)/g, text)) {
      if (/^https?:/.test(link)) continue;
      const [file = '', section] = link.split('#');
      const target = file === '' ? document : join(dirname(document), file);
      expect(existsSync(join(root, target)), link).toBe(true);
      if (section !== undefined) expect(read(target)).toContain(`\n### ${section}\n`);
    }
  });

  it('names npm scripts and files that exist', () => {
    const { scripts } = JSON.parse(read('package.json'));
    for (const script of all(/npm run (?:--silent )?([\w:]+)/g, text)) {
      expect(scripts).toHaveProperty([script]);
    }
    for (const file of all(/((?:src|test|bench)\/[\w/-]+(?:\.\w+)+)/g, text)) {
      expect(existsSync(join(root, file)), file).toBe(true);
    }
  });
});

it('every entry to paste has exactly this version, so that a newer release does not break it', () => {
  const { version } = JSON.parse(read('package.json'));
  const pasted = documents.flatMap((document) =>
    all(/-y"?,? "?--prefer-offline"?,? "?(mcp-latchkey[^"\s]*)/g, read(document)).map(
      (own) => `${document}: ${own}`,
    ),
  );
  expect(pasted.length).toBeGreaterThan(10);
  for (const own of pasted) expect(own).toMatch(new RegExp(`: mcp-latchkey@${version}$`));
});

it('README.md has the options of the proxy, all of them and no other', () => {
  const [, table = ''] = /## Options\n([\s\S]*?)\n## /.exec(read('README.md')) ?? [];
  const firstColumn = all(/^\| (`.*?) +\|/gm, table.replace(/ {2,}/g, ' ')).join('\n');
  const named = all(/`--([a-z-]+)/g, firstColumn);
  expect(named.sort()).toEqual(Object.keys(PROXY_OPTIONS).sort());
});

it('docs/architecture.md knows every room of src, and no other', () => {
  const [, rooms = ''] = /## The rooms\n([\s\S]*?)\n## /.exec(read('docs/architecture.md')) ?? [];
  const named = [...new Set(all(/(?:\["|`)(\w+)\//g, rooms.replaceAll('`src/`', '')))];
  const folders = readdirSync(join(root, 'src'), { withFileTypes: true });
  const names = folders.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(named.sort()).toEqual(names.sort());
});
