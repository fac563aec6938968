import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runConformanceScenario } from './conformance-suite.ts';
import { missing, pathOf } from './installed-peers.ts';

const RESOURCE = [
  'resource-parameter-in-authorization',
  'resource-parameter-in-token',
  'resource-parameter-matches-prm',
];

/** The scenarios, and the checks that each must have passed: the suite passes one that ran none. */
const SINCE_2025_11_25: Readonly<Record<string, readonly string[]>> = {
  'metadata-default': RESOURCE,
  'metadata-var1': RESOURCE,
  'metadata-var2': RESOURCE,
  'metadata-var3': RESOURCE,
  'basic-cimd': ['cimd-client-id-used', 'valid-bearer-token'],
  'scope-from-www-authenticate': ['scope-from-www-authenticate', 'valid-bearer-token'],
  'scope-from-scopes-supported': ['scope-from-scopes-supported', 'valid-bearer-token'],
  'scope-omitted-when-undefined': ['scope-omitted-when-undefined', 'valid-bearer-token'],
  'scope-step-up': ['scope-step-up-initial', 'scope-step-up-escalation'],
  'scope-retry-limit': ['scope-retry-limit'],
  'token-endpoint-auth-basic': ['token-endpoint-auth-method', ...RESOURCE],
  'token-endpoint-auth-post': ['token-endpoint-auth-method', ...RESOURCE],
  'token-endpoint-auth-none': ['token-endpoint-auth-method', ...RESOURCE],
  'pre-registration': ['pre-registration-auth', 'valid-bearer-token'],
};

const SINCE_2026_07_28: Readonly<Record<string, readonly string[]>> = {
  ...SINCE_2025_11_25,
  'scope-step-up': ['scope-step-up-escalation', 'sep-2350-scope-union-on-reauth'],
  'resource-mismatch': ['resource-mismatch-rejected'],
  'offline-access-scope': [
    'sep-2207-client-metadata-grant-types',
    'sep-2207-offline-access-requested',
  ],
  'offline-access-not-supported': ['sep-2207-offline-access-not-requested'],
  'authorization-server-migration': [
    'sep-2352-reregister-on-as-change',
    'sep-2352-no-reuse-on-as-change',
    'sep-2352-no-cross-as-credential-reuse',
  ],
  'iss-supported': ['sep-2468-client-compare-iss-supported', 'valid-bearer-token'],
  'iss-not-advertised': ['sep-2468-client-proceed-no-iss', 'valid-bearer-token'],
  'iss-supported-missing': ['sep-2468-client-reject-missing-iss'],
  'iss-wrong-issuer': ['sep-2468-client-compare-iss-supported'],
  'iss-unexpected': ['sep-2468-client-compare-iss-unadvertised'],
  'iss-normalized': ['sep-2468-client-no-normalization'],
  'metadata-issuer-mismatch': ['sep-2468-client-validate-metadata-issuer'],
};

const AT_2025_03_26: Readonly<Record<string, readonly string[]>> = {
  '2025-03-26-oauth-metadata-backcompat': ['authorization-server-metadata', 'valid-bearer-token'],
  '2025-03-26-oauth-endpoint-fallback': ['token-request', 'valid-bearer-token'],
};

const EXTENSIONS: Readonly<Record<string, readonly string[]>> = {
  'client-credentials-jwt': ['client-credentials-jwt-verified', 'valid-bearer-token'],
  'client-credentials-basic': ['client-credentials-basic-auth', 'valid-bearer-token'],
  dpop: [
    'sep-1932-client-token-request-proof',
    'sep-1932-client-dpop-auth-scheme',
    'sep-1932-client-fresh-proof',
  ],
  'dpop-nonce': ['sep-1932-client-as-nonce', 'sep-1932-client-rs-nonce'],
  'enterprise-managed-authorization': [
    'complete-flow-token-exchange',
    'complete-flow-jwt-bearer',
    'valid-bearer-token',
  ],
  'wif-jwt-bearer': ['wif-assertion-verified', 'valid-bearer-token'],
};

const suites = [
  { specVersion: '2025-11-25', era: 'legacy', scenarios: SINCE_2025_11_25 },
  { specVersion: '2026-07-28', era: 'legacy', scenarios: SINCE_2026_07_28 },
  { specVersion: '2026-07-28', era: 'modern', scenarios: SINCE_2026_07_28 },
  { specVersion: '2025-03-26', era: 'legacy', scenarios: AT_2025_03_26 },
  // Without --force the suite skips an extension, and calls that a success.
  { specVersion: '2025-11-25', era: 'legacy', scenarios: EXTENSIONS, flags: ['--force'] },
];

const browser = fileURLToPath(new URL('fake-browser.mjs', import.meta.url));

/** Five run at a time, and each starts four processes. */
const LIMIT = { timeout: 90_000 };

// Not describe.skip: its `for` runs what it should skip (Vitest 4.1).
const scenarioTest = missing('conformance', 'recentNode', 'modernClient')
  ? test.skip
  : test.concurrent;

describe.for(suites)(
  'the conformance suite at $specVersion passes the authorization of a $era client',
  ({ specVersion, era, scenarios, flags = [] }) => {
    scenarioTest.for(Object.entries(scenarios))(
      'in auth/%s',
      LIMIT,
      async ([name, judgedBy], context) => {
        const home = mkdtempSync(join(tmpdir(), 'mcp-latchkey-conformance-home-'));
        context.onTestFinished(() => rmSync(home, { recursive: true, force: true }));
        const { exitCode, checks, output } = await runConformanceScenario(
          context,
          `auth/${name}`,
          specVersion,
          'oauth-conformance-client.mjs',
          {
            ...{ CLIENT_ERA: era, MODERN_CLIENT: pathToFileURL(pathOf('modernClient')).href },
            ...{ HOME: home, XDG_DATA_HOME: home, SCRATCH: home, BROWSER: browser },
            MCP_LATCHKEY_STORE_KEY: Buffer.alloc(32, name).toString('base64'),
          },
          flags,
        );
        const failed = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
        expect(failed, output).toEqual([]);
        const passed = checks.filter(({ status }) => status === 'SUCCESS').map(({ id }) => id);
        expect(passed).toEqual(expect.arrayContaining([...judgedBy]));
        expect(exitCode, output).toBe(0);
      },
    );
  },
);
