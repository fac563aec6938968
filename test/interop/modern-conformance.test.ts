import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type Check, runConformanceScenario } from './conformance-suite.ts';
import { missing, pathOf } from './installed-peers.ts';

/** The scenarios, and the checks of each by what the suite names them. */
const scenarios = [
  { scenario: 'tools_call', judgedBy: ['tool-add-numbers', 'wire-schema-valid'] },
  {
    scenario: 'request-metadata',
    judgedBy: [
      'sep-2575-http-client-sends-version-header',
      'sep-2575-client-populates-meta',
      'sep-2575-client-sends-client-info',
      'sep-2575-http-version-header-matches-meta',
      'sep-2575-client-declares-roots-capability',
      'sep-2575-client-declares-sampling-capability',
      'sep-2575-client-declares-elicitation-capability',
      'sep-2575-client-retry-supported-version',
    ],
  },
  {
    scenario: 'sep-2322-client-request-state',
    judgedBy: [
      'sep-2322-client-request-state-echoed',
      'sep-2322-client-jsonrpc-id-different',
      'sep-2322-client-no-state-omitted',
      'sep-2322-client-parallel-isolation',
      'sep-2322-default-result-type-complete',
    ],
  },
  {
    scenario: 'http-standard-headers',
    judgedBy: [
      ...['tools_list', 'tools_call', 'resources_list', 'resources_read', 'prompts_list'],
      'prompts_get',
    ]
      .map((method) => `ClientMcpMethodHeader_${method}`)
      .concat(
        ['tools_call', 'resources_read', 'prompts_get'].map(
          (method) => `ClientMcpNameHeader_${method}`,
        ),
      ),
  },
  {
    scenario: 'http-custom-headers',
    judgedBy: [
      'sep-2243-client-supports-custom-headers',
      'sep-2243-client-omit-null',
      ...['Region', 'Priority', 'Verbose', 'Debug', 'EmptyVal', 'Method', 'NonAscii', 'Whitespace'],
      ...['LeadingSpace', 'TrailingSpace', 'InternalSpace', 'ControlChar', 'CrLf', 'Tab'],
      ...['ClientCustomHeaderNoMirrorNumber', 'ClientCustomHeaderNoMirrorUnannotated'],
    ].map((check) => (/^(sep-|Client)/.test(check) ? check : `ClientCustomHeader_${check}`)),
  },
  {
    scenario: 'http-invalid-tool-headers',
    judgedBy: [
      'ClientKeepsValidTool',
      ...['empty_header', 'object_header', 'array_header', 'null_header', 'number_header'],
      ...['duplicate_same_case', 'duplicate_diff_case', 'space_in_name', 'colon_in_name'],
      ...['non_ascii_name', 'control_char_name'],
    ].map((check) =>
      check.startsWith('Client') ? check : `ClientRejectsInvalidTool_invalid_${check}`,
    ),
  },
  { scenario: 'json-schema-ref-no-deref', judgedBy: ['sep-2106-no-network-ref-deref'] },
  {
    scenario: 'json-schema-2020-12-preservation',
    judgedBy: [
      'json-schema-2020-12-client-tool-found',
      'json-schema-2020-12-client-echo-completed',
      'json-schema-2020-12-client-$schema-preserved',
      'json-schema-2020-12-client-$defs-preserved',
      'json-schema-2020-12-client-additionalProperties-preserved',
      'sep-2106-client-composition-keywords-preserved',
      'sep-2106-client-conditional-keywords-preserved',
      'sep-2106-client-anchor-keyword-preserved',
      'wire-schema-valid',
    ],
  },
];

/**
 * What the suite holds against `initialize` itself, the only request that an old client's proxy
 * sends before it can know that the gateway is modern. A proxy that passed here would have to
 * change that message, or ask first, for every old gateway as well.
 */
const HELD_AGAINST_INITIALIZE: Readonly<Record<string, readonly string[]>> = {
  'request-metadata': [
    'sep-2575-http-client-sends-version-header ClientSendsVersionHeader: initialize',
    'sep-2575-client-populates-meta ClientPopulatesMeta: initialize',
    'sep-2575-client-sends-client-info ClientSendsClientInfo: initialize',
  ],
  'http-standard-headers': [
    'sep-2243-client-includes-standard-headers ClientMcpMethodHeader_initialize: initialize',
  ],
};

/** Where several requests failed a check, the suite keeps the last. */
function judgement({ id, name, details }: Check): string {
  return `${id} ${name}: ${details?.method ?? details?.expectedMethod}`;
}

// Not describe.skip: its `for` runs what it should skip (Vitest 4.1).
const scenarioTest = missing('conformance', 'recentNode', 'modernClient')
  ? test.skip
  : test.concurrent;

/** Five run at a time, and some wait for seconds. */
const LIMIT = { timeout: 90_000 };

describe.for(['modern', 'legacy'])(
  'the conformance suite at 2026-07-28 passes a %s client that goes through the proxy',
  (era) => {
    scenarioTest.for(scenarios)('in $scenario', LIMIT, async ({ scenario, judgedBy }, context) => {
      const { exitCode, checks, output } = await runConformanceScenario(
        context,
        scenario,
        '2026-07-28',
        'modern-conformance-client.mjs',
        { CLIENT_ERA: era, MODERN_CLIENT: pathToFileURL(pathOf('modernClient')).href },
      );
      const failed = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
      const held = (era === 'legacy' && HELD_AGAINST_INITIALIZE[scenario]) || [];
      expect(failed.map(judgement), output).toEqual(held);
      // The suite passes a scenario whose checks never ran, so name those that must have.
      const passed = checks.filter(({ status }) => status === 'SUCCESS');
      const names = passed.flatMap(({ id, name }) => [id, name]);
      const others = judgedBy.filter((check) => !held.some((line) => line.includes(check)));
      expect(names).toEqual(expect.arrayContaining(others));
      expect(exitCode, output).toBe(held.length === 0 ? 0 : 1);
    });
  },
);
