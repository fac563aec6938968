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

const clients = mkdtempSync(join(tmpdir(), 'mcp-latchkey-clients-'));
afterAll(() => rmSync(clients, { recursive: true, force: true }));

/** One file of the client and the SDK: a scenario starts it in half the time. */
function bundleClient(client: string): void {
  if (existsSync(join(clients, client))) return;
  buildSync({
    entryPoints: [join(import.meta.dirname, client)],
    outfile: join(clients, client),
    bundle: true,
    platform: 'node',
    format: 'esm',
    // What of the SDK is CommonJS needs it.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  });
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
  bundleClient(client);
  const suite = [
    pathOf('conformance'),
    ...['client', '--scenario', scenario, '--spec-version', specVersion],
    ...['--output-dir', results, '--timeout', '40000', ...flags],
    // The suite splits this at each space, so it holds no path.
    ...['--command', `node ${client}`],
  ];
  const settings = {
    ...process.env,
    PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}`,
    PROXY_COMMAND: JSON.stringify([command, ...args]),
    ...env,
  };
  const verdict = await new Promise<Pick<Run, 'exitCode' | 'output'>>((resolve) => {
    execFile(
      pathOf('recentNode'),
      suite,
      { cwd: clients, env: settings, timeout: 50_000 },
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
