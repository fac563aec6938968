import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { lastingNode } from '../../src/install/lasting-node.ts';

/** Makes an empty file for `node`, and each link to where it leads, below a new folder. */
function makeTree(node: string, links: Record<string, string> = {}): (path: string) => string {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-node-')));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const at = (path: string) => join(root, path);
  mkdirSync(dirname(at(node)), { recursive: true });
  writeFileSync(at(node), '');
  for (const [link, target] of Object.entries(links)) {
    mkdirSync(dirname(at(link)), { recursive: true });
    symlinkSync(target, at(link));
  }
  return at;
}

const lasting = (path: string, env: NodeJS.ProcessEnv = {}) => lastingNode(path, env, 'linux');

it.each([
  [
    'Homebrew',
    'Cellar/node@20/20.1.0/bin/node',
    { 'opt/node@20': '../Cellar/node@20/20.1.0' },
    'opt/node@20/bin/node',
  ],
  [
    'mise',
    'mise/installs/node/20.1.0/bin/node',
    { 'mise/installs/node/20': './20.1.0', 'mise/installs/node/latest': './20.1.0' },
    'mise/installs/node/latest/bin/node',
  ],
  [
    'fnm',
    'fnm/node-versions/v20.1.0/installation/bin/node',
    { 'fnm/aliases/default': '../node-versions/v20.1.0/installation' },
    'fnm/aliases/default/bin/node',
  ],
  [
    'nvm',
    '.nvm/versions/node/v20.1.0/bin/node',
    { '.nvm/current': 'versions/node/v20.1.0' },
    '.nvm/current/bin/node',
  ],
  [
    'nodebrew',
    '.nodebrew/node/v20.1.0/bin/node',
    { '.nodebrew/current': 'node/v20.1.0' },
    '.nodebrew/current/bin/node',
  ],
  [
    'snap',
    'snap/node/9876/bin/node',
    { 'snap/node/current': '9876' },
    'snap/node/current/bin/node',
  ],
])('prefers the link that %s keeps to the version that it removes', (_, node, links, link) => {
  const at = makeTree(node, links);
  expect(lasting(at(node))).toEqual({ path: at(link), hasVersion: false });
  expect(lasting(at(link))).toEqual({ path: at(link), hasVersion: false });
});

it('finds a link without a version on the PATH, and passes over one that lives with its shell', () => {
  const node = 'asdf/installs/nodejs/20.1.0/bin/node';
  const target = `../${node}`;
  const shell = 'run/fnm_multishells/1_2/bin/node';
  const at = makeTree(node, { 'bin/node': target, [shell]: `../../../../${node}` });
  const PATH = [shell, node, 'bin/node'].map((path) => dirname(at(path))).join(delimiter);
  expect(lasting(at(node), { PATH })).toEqual({ path: at('bin/node'), hasVersion: false });
  expect(lasting(at(shell), { PATH })).toEqual({ path: at('bin/node'), hasVersion: false });
});

it.each([
  '.nvm/versions/node/v20.1.0/bin/node',
  '.asdf/installs/nodejs/20.1.0/bin/node',
  '.volta/tools/image/node/20.1.0/bin/node',
  'opt/node-v20.1.0-linux-x64/bin/node',
])('tells that no lasting link leads to %s', (node) => {
  const at = makeTree(node, { 'bin/node': '/nonexistent/other' });
  const PATH = dirname(at('bin/node'));
  expect(lasting(at(node), { PATH })).toEqual({ path: at(node), hasVersion: true });
});

it('does not follow a link that leads to another version', () => {
  const node = 'mise/installs/node/20.1.0/bin/node';
  const at = makeTree(node, { 'mise/installs/node/latest': './24.0.0' });
  expect(lasting(at(node)).path).toBe(at(node));
  symlinkSync('./20.1.0', at('mise/installs/node/20'));
  expect(lasting(at(node))).toEqual({
    path: at('mise/installs/node/20/bin/node'),
    hasVersion: true,
  });
});

it('keeps a path without a version as it is', () => {
  const at = makeTree('usr/bin/node', { 'usr/local/bin/node': '../../bin/node' });
  for (const path of ['usr/bin/node', 'usr/local/bin/node']) {
    expect(lasting(at(path))).toEqual({ path: at(path), hasVersion: false });
  }
});
