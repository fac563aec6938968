import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { describe, expect, type TestContext, test } from 'vitest';
import { missing, pathOf } from './installed-peers.ts';
import { proxyUnderTest } from './proxy-under-test.ts';

interface Check {
  id: string;
  status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO';
}

const scenarios = [
  { scenario: 'initialize', judgedBy: ['mcp-client-initialization'] },
  { scenario: 'tools_call', judgedBy: ['tool-add-numbers', 'wire-schema-valid'] },
  {
    scenario: 'elicitation-sep1034-client-defaults',
    judgedBy: ['string', 'integer', 'number', 'enum', 'boolean'].map(
      (type) => `client-elicitation-sep1034-${type}-default`,
    ),
  },
  {
    scenario: 'sse-retry',
    judgedBy: [
      'client-sse-graceful-reconnect',
      'client-sse-retry-timing',
      'client-sse-last-event-id',
    ],
  },
  {
    scenario: 'json-schema-2020-12-preservation',
    judgedBy: [
      'json-schema-2020-12-client-tool-found',
      'json-schema-2020-12-client-echo-completed',
      'json-schema-2020-12-client-$schema-preserved',
      'json-schema-2020-12-client-$defs-preserved',
      'json-schema-2020-12-client-additionalProperties-preserved',
      'wire-schema-valid',
    ],
  },
];

const suite = missing('conformance', 'recentNode') ? describe.skip : describe.concurrent;

suite('the conformance suite at 2025-11-25 passes a client that goes through the proxy', () => {
  test.for(scenarios)('in $scenario', async ({ scenario, judgedBy }, context) => {
    const { exitCode, checks, output } = await runScenario(context, scenario);
    const failed = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
    expect(failed, output).toEqual([]);
    // The suite passes a scenario whose checks never ran, so name those that must have.
    const passed = checks.filter(({ status }) => status === 'SUCCESS').map(({ id }) => id);
    expect(passed).toEqual(expect.arrayContaining(judgedBy));
    expect(exitCode, output).toBe(0);
  });

  test.for(scenarios)(
    'but not in $scenario when the client is at fault',
    async ({ scenario, judgedBy }, context) => {
      const { exitCode, checks } = await runScenario(context, scenario, '1');
      const failed = checks.filter(({ status }) => status === 'FAILURE').map(({ id }) => id);
      expect(judgedBy.some((id) => failed.includes(id))).toBe(true);
      expect(exitCode).not.toBe(0);
    },
  );
});

interface Run {
  exitCode: unknown;
  checks: Check[];
  /** What the suite printed, for the message of a test that fails. */
  output: string;
}

/** Lets the suite run one scenario, and returns its verdict. */
async function runScenario(test: TestContext, scenario: string, mistake = ''): Promise<Run> {
  const { command, args, exit, messages } = proxyUnderTest(test);
  const results = mkdtempSync(join(tmpdir(), 'mcp-latchkey-conformance-'));
  test.onTestFinished(() => rmSync(results, { recursive: true, force: true }));
  const suite = [
    pathOf('conformance'),
    ...['client', '--scenario', scenario, '--spec-version', '2025-11-25'],
    ...['--output-dir', results, '--timeout', '15000'],
    // The suite splits this at each space, so it holds no path.
    ...['--command', 'node conformance-client.mjs'],
  ];
  const env = {
    ...process.env,
    PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH']}`,
    PROXY_COMMAND: JSON.stringify([command, ...args]),
    CLIENT_MISTAKE: mistake,
  };
  const verdict = await new Promise<Pick<Run, 'exitCode' | 'output'>>((resolve) => {
    execFile(
      pathOf('recentNode'),
      suite,
      { cwd: import.meta.dirname, env, timeout: 20_000 },
      (error, stdout, stderr) => resolve({ exitCode: error?.code ?? 0, output: stdout + stderr }),
    );
  });
  expect(await exit(), verdict.output).toEqual({ code: 0, signal: null });
  expect(messages().length).toBeGreaterThan(1);
  const [folder = ''] = readdirSync(results);
  const checks = JSON.parse(readFileSync(join(results, folder, 'checks.json'), 'utf8'));
  return { ...verdict, checks };
}
