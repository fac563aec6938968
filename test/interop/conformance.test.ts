import { describe, expect, type TestContext, test } from 'vitest';
import { runConformanceScenario } from './conformance-suite.ts';
import { missing } from './installed-peers.ts';

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

function runScenario(test: TestContext, scenario: string, mistake = '') {
  return runConformanceScenario(test, scenario, '2025-11-25', 'conformance-client.mjs', {
    CLIENT_MISTAKE: mistake,
  });
}
