import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, posix, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { allClients } from '../src/install/clients.ts';
import { PROXY_OPTIONS } from '../src/settings/options.ts';
import { notPlainEnglish } from './plain-english.ts';
import { allCommands } from './reference-page.ts';

const root = join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const filesIn = (folder: string, ending: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => posix.join(folder, file.replaceAll('\\', '/')))
    .filter((file) => file.endsWith(ending));
const pages = filesIn('docs', '.md');
const documents = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...pages];
const all = (pattern: RegExp, text: string) =>
  [...text.matchAll(pattern)].map(([, found = '']) => found);

/** The anchors of a page, as GitHub makes them of its headings. */
const anchors = (text: string) =>
  all(/^#+ (.*)$/gm, text).map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\d _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** What a page links to in this tree: paths from the root, with `#section`. */
const linksOf = (document: string) =>
  all(/\]\(([^)\s]+)\)/g, read(document))
    .filter((link) => !/^https?:/.test(link))
    .map((link) => (link.startsWith('#') ? document + link : posix.join(dirname(document), link)));

describe.each(documents)('%s', (document) => {
  const text = read(document);

  it('has links that lead somewhere', () => {
    for (const link of linksOf(document)) {
      const [target = '', section] = link.split('#');
      expect(existsSync(join(root, target)), link).toBe(true);
      if (section !== undefined) expect(anchors(read(target)), link).toContain(section);
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

  it('has commands and options of the program only', async () => {
    const commands = new Map((await allCommands()).map(({ name, options }) => [name, options]));
    const lines = text.replaceAll('\\\n', ' ').split('\n');
    for (const line of lines.flatMap((own) => all(/\bmcp-latchkey ([^`|\n]*)/g, own))) {
      const [first = '', ...words] = line.split(/\s+/);
      const isProxy = /^(?:https?:|<url>|-|kindo$)/.test(first);
      // Running text goes on with another word; a placeholder is not a command.
      if (!isProxy && !commands.has(first)) continue;
      const known = { ...(isProxy ? PROXY_OPTIONS : commands.get(first)), help: {}, version: {} };
      for (const option of all(
        /(?<![\w-])--(?:no-)?([a-z][a-z-]+)/g,
        [first, ...words].join(' '),
      )) {
        expect(Object.keys(known), line).toContain(option);
      }
    }
  });

  it('has variables of the program only', () => {
    const options = Object.keys(PROXY_OPTIONS).map((name) => name.toUpperCase().replace(/-/g, '_'));
    for (const name of all(/\bMCP_LATCHKEY_([A-Z_]+)/g, text)) {
      expect(['API_KEY', 'STORE_KEY', ...options]).toContain(name);
    }
  });

  // docs/architecture.md is for the people who wrote it.
  it.skipIf(document === 'docs/architecture.md')('is in plain English', () => {
    expect(notPlainEnglish(prose(document))).toEqual([]);
  });
});

/** A document without code. */
function prose(document: string): string {
  return read(document).replace(/^```.*?^```$/gms, '');
}

it('README.md has at most 100 lines', () => {
  expect(read('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(100);
});

it('every page can be reached from docs/README.md, and README.md leads there', () => {
  expect(linksOf('README.md')).toContain('docs/README.md');
  const reached = new Set<string>();
  const visit = (page: string) => {
    if (reached.has(page) || !pages.includes(page)) return;
    reached.add(page);
    for (const link of linksOf(page)) visit(link.replace(/#.*/, ''));
  };
  visit('docs/README.md');
  expect([...reached].sort()).toEqual([...pages].sort());
});

it('every entry to paste has exactly this version, so that a newer release does not break it', () => {
  const { version } = JSON.parse(read('package.json'));
  const pasted = documents.flatMap((document) =>
    all(/-y"?,? "?--prefer-offline"?,? "?(mcp-latchkey[^"\s]*)/g, read(document)).map(
      (own) => `${document}: ${own}`,
    ),
  );
  expect(pasted.length).toBeGreaterThan(8);
  for (const own of pasted) expect(own).toMatch(new RegExp(`: mcp-latchkey@${version}$`));
});

it('docs/reference.md has every variable that the program reads, and no other', () => {
  const [, section = ''] =
    /## Environment variables\n(.*?)\n## /s.exec(read('docs/reference.md')) ?? [];
  const rows = all(/^\| (`.*?)\|/gm, section).join('\n');
  const named = all(/`([A-Z_]+)`/g, rows);
  const source = filesIn('src', '.ts').map(read).join('\n');
  const inSource = all(/\benv\.(?!MCP_LATCHKEY_)([A-Z][A-Z_]+)/g, source);
  // node:util reads the first two for colors, the names of the next three are put together, and of
  // the last two one is the default of an option, the other has no option.
  const indirect = ['NO_COLOR', 'FORCE_COLOR', 'HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY'];
  const names = new Set([
    ...inSource,
    ...indirect,
    'MCP_LATCHKEY_API_KEY',
    'MCP_LATCHKEY_STORE_KEY',
  ]);
  expect(named.sort()).toEqual([...names].sort());
});

it('docs/reference.md has the exit codes of every command', async () => {
  const [, section = ''] = /## Exit codes\n(.*?)\n## /s.exec(read('docs/reference.md')) ?? [];
  const names = (await allCommands()).map(({ name }) => name);
  expect(all(/^\| `(\w+)`/gm, section)).toEqual(names);
});

it('docs/clients has every client, those with a page with the path of their config', () => {
  const index = read('docs/clients/README.md');
  const named = all(/^\| .*\| `(?:npx mcp-latchkey install )?([\w-]+)/gm, index);
  const clients = allClients();
  expect(named.sort()).toEqual(clients.map(({ id }) => id).sort());
  for (const { id, configPath } of clients) {
    const page = `docs/clients/${id}.md`;
    if (id === 'claude-desktop' || !pages.includes(page)) continue;
    const path = relative(homedir(), configPath).replaceAll('\\', '/');
    if (process.platform === 'linux') expect(read(page), id).toContain(`\`~/${path}\``);
  }
});

it('docs/architecture.md knows every room of src, and no other', () => {
  const [, rooms = ''] = /## The rooms\n([\s\S]*?)\n## /.exec(read('docs/architecture.md')) ?? [];
  const named = [...new Set(all(/(?:\["|`)(\w+)\//g, rooms.replaceAll('`src/`', '')))];
  const folders = readdirSync(join(root, 'src'), { withFileTypes: true });
  const names = folders.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(named.sort()).toEqual(names.sort());
});
