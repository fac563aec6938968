import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll, expect, type TestContext } from 'vitest';
import { pathOf } from './installed-peers.ts';
import { proxyUnderTest } from './proxy-under-test.ts';

export interface Check {
  id: string;
  name: string;
  status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO';
  details?: Record<string, unknown>;
}

interface Run {
  exitCode: unknown;
  checks: Check[];
  /** What the suite printed, for the message of a test that fails. */
  output: string;
}

const folder = mkdtempSync(join(tmpdir(), 'mcp-latchkey-bundles-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * One file of a program and all that it loads: to start the suite and its client takes half the time.
 * Returns the file's path.
 */
function bundled(entry: string, name: string): string {
  const outfile = join(folder, name);
  if (existsSync(outfile)) return outfile;
  buildSync({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
    // What is CommonJS in it needs this.
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
  });
  return outfile;
}

/**
 * Lets the conformance suite run one scenario at `specVersion` with a client of this folder, which
 * finds the proxy's command line in PROXY_COMMAND and `env` beside it. `flags`: more of the suite's.
 * Returns the suite's verdict.
 * Fails the test when the proxy wrote anything but messages or did not end by itself.
 */
export async function runConformanceScenario(
  test: TestContext,
  scenario: string,
  specVersion: string,
  client: string,
  env: Record<string, string>,
  flags: readonly string[] = [],
): Promise<Run> {
  const { command, args, exit, messages } = proxyUnderTest(test);
  const results = mkdtempSync(join(tmpdir(), 'mcp-latchkey-conformance-'));
  test.onTestFinished(() => rmSync(results, { recursive: true, force: true }));
  bundled(join(import.meta.dirname, client), client);
  const suite = [
    bundled(pathOf('conformance'), 'conformance.mjs'),
    ...['client', '--scenario', scenario, '--spec-version', specVersion],
    ...['--output-dir', results, '--timeout', '40000', ...flags],
    // The suite splits this at each space, so it holds no path.
    ...['--command', `node ${client}`],
  ];
  const settings = {
    ...process.env,
    PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}`,
    NODE_COMPILE_CACHE: join(folder, 'compiled'),
    PROXY_COMMAND: JSON.stringify([command, ...args]),
    ...env,
  };
  const verdict = await new Promise<Pick<Run, 'exitCode' | 'output'>>((resolve) => {
    execFile(
      pathOf('recentNode'),
      suite,
      { cwd: folder, env: settings, timeout: 50_000 },
      (error, stdout, stderr) => resolve({ exitCode: error?.code ?? 0, output: stdout + stderr }),
    );
  });
  expect(await exit(), verdict.output).toEqual({ code: 0, signal: null });
  // One alone is the error that ends a scenario in which the client must refuse the server.
  expect(messages().length).toBeGreaterThan(0);
  // A scenario with a slash in its name has a folder in a folder.
  const files = readdirSync(results, { recursive: true, encoding: 'utf8' });
  const file = files.find((name) => basename(name) === 'checks.json') ?? '';
  const checks = JSON.parse(readFileSync(join(results, file), 'utf8'));
  return { ...verdict, checks };
}
