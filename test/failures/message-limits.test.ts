import { chmodSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Credential } from '../../src/auth/credential.ts';
import { findKey, type KeySources } from '../../src/auth/key.ts';
import { answerOf } from '../../src/auth/keychain.ts';
import {
  internalError,
  misconfiguredError,
  type RpcError,
  tooLargeError,
  toRpcError,
} from '../../src/failures/catalogue.ts';
import type { Failure } from '../../src/failures/failure.ts';
import { NETWORK_CAUSES, type NetworkCause } from '../../src/failures/network-causes.ts';
import { classifyNetworkError } from '../../src/http/classify-network-error.ts';
import { createLog } from '../../src/log.ts';
import { UsageError } from '../../src/settings/options.ts';
import { readProxySettings } from '../../src/settings/settings.ts';
import { classifyOutcome } from '../../src/transport/classify-outcome.ts';
import type { ExchangeOutcome } from '../../src/transport/exchange-outcome.ts';
import { explainRefusal } from '../../src/transport/explain-refusal.ts';
import { notPlainEnglish } from '../plain-english.ts';

const HOST = 'mcp-gateway.tools.example.corp';
const GATEWAY = `https://${HOST}/v1/mcp`;
/** What stands for text from the network: it does not count. */
const SAID = 'ΣΣΣ';
const ALSO_SAID = ['missing ALPN Protocol, expected `h2`', 'this ip address is blocked'];

expect(HOST).toHaveLength(30);

/** A message without what does not count: URLs, commands, and what the network said. */
function counted(message: string): string {
  return ALSO_SAID.reduce((text, said) => text.replaceAll(said, ''), message)
    .replaceAll(/`[^`]+`/g, '')
    .replaceAll(/https?:\/\/[^\s"]*/g, '')
    .replaceAll(SAID, '');
}

const firstSentence = (message: string) =>
  /^.*?[.?!](?= (?:[A-Z]|mcp-latchkey)| ?$)/s.exec(message)?.[0] ?? message;

function expectToBeShort({ message, data }: RpcError): void {
  const words = counted(message);
  expect(firstSentence(words).length, firstSentence(words)).toBeLessThanOrEqual(90);
  expect(words.length, words).toBeLessThanOrEqual(200);
  expect(message).not.toMatch(/\n|;|\((?!HTTP \d{3}\): )/);
  // It ends with a sentence, or with a URL, which has no full stop after it.
  expect(message).toMatch(/(?:[^/]\.|https?:\/\/(?:\S*[^.\s])?)$/);
  expect(message).not.toMatch(/https?:\/\/[^\s`]+\.(?:\s|$)/);
  expect(message.endsWith(String(data.hint))).toBe(true);
  expect(notPlainEnglish(message)).toEqual([]);
}

const KEYS: readonly NonNullable<Failure['key']>[] = [
  { source: 'keychain', origin: 'the keychain' },
  { source: 'keychain', origin: 'keychain account work', loginOptions: ' --account work' },
  { source: 'key-file', origin: 'the file /etc/mcp/key' },
  { source: 'key-command', origin: '--key-command' },
  { source: 'key-env', origin: 'the environment variable MCP_LATCHKEY_API_KEY' },
  { source: 'header', origin: 'the header authorization' },
  { source: 'header-file', origin: '--header-file' },
].map((key) => ({ ...key, tail: 'a1b2' }) as NonNullable<Failure['key']>);
const SIGN_IN = { source: 'sign-in', origin: 'your sign-in', tail: 'a1b2' } as const;
const NONE = { source: 'none', origin: 'no source' } as const;

const METADATA = {
  name: 'Gateway',
  documentation: 'https://docs.example.com/keys',
  authorizationServers: ['https://auth.example.com'],
  takesHeader: true,
};

const CIRCUMSTANCES = {
  gateway: GATEWAY,
  credential: { kind: 'in-header', origin: KEYS[0] } as Credential,
  connectTimeoutMs: 10_000,
  timeoutMs: 600_000,
  maxMessageBytes: 64 * 1024 * 1024,
};

/** What the proxy makes of the end of an exchange: of one that may be repeated, and of one that may not. */
function failuresOf(end: ExchangeOutcome): Failure[] {
  return [true, false].flatMap((repeats) =>
    [{}, { isInSession: true }, { hasWorked: true }].map((more) =>
      classifyOutcome(end, { ...CIRCUMSTANCES, ...more, mayRepeat: () => repeats, attempts: 1 }),
    ),
  );
}

const refusal = (status: number, headers: Record<string, string> = {}, body = '') =>
  ({
    kind: 'http-error',
    status,
    headers,
    body: Buffer.from(body),
    sent: true,
  }) as unknown as Extract<ExchangeOutcome, { kind: 'http-error' }>;

describe.each<[string, Failure[]]>([
  [
    'a key that is missing, invalid or rejected',
    [
      ...[NONE, ...KEYS].flatMap((key) => [
        { reason: 'no_api_key', status: 401, gateway: GATEWAY, key },
        { reason: 'no_api_key', status: 401, gateway: GATEWAY, key, resource: METADATA },
        { reason: 'malformed_api_key', gateway: GATEWAY, key },
        { reason: 'malformed_api_key', gateway: GATEWAY, key, isPlaceholder: true },
        ...[undefined, SAID].flatMap((detail) => [
          { reason: 'unauthorized', status: 401, gateway: GATEWAY, key, detail },
          {
            reason: 'unauthorized',
            status: 401,
            gateway: GATEWAY,
            key,
            detail,
            resource: { ...METADATA, takesHeader: false },
          },
          { reason: 'forbidden', status: 403, gateway: GATEWAY, key, detail },
        ]),
        { reason: 'forbidden', status: 403, gateway: GATEWAY, key, lacksKeyAccess: true },
      ]),
    ] as Failure[],
  ],
  [
    'a sign-in that is missing, rejected or not enough',
    [undefined, SAID].flatMap((detail) => [
      ...[{}, { server: 'login.example.com' }, { link: 'https://login.example.com/' }].map(
        (signIn) => ({ reason: 'sign_in_required', status: 401, gateway: GATEWAY, signIn, detail }),
      ),
      { reason: 'unauthorized', status: 401, gateway: GATEWAY, key: SIGN_IN, detail },
      ...['client-credentials', 'id-jag'].map((grant) => ({
        ...{ reason: 'unauthorized', gateway: GATEWAY, signIn: { grant }, detail },
      })),
      { reason: 'forbidden', status: 403, gateway: GATEWAY, key: SIGN_IN, detail },
    ]) as Failure[],
  ],
  [
    'no connection',
    (Object.keys(NETWORK_CAUSES) as NetworkCause[]).flatMap((networkCause) => [
      { reason: 'unreachable', gateway: GATEWAY, networkCause, attempts: 3 },
      { reason: 'interrupted', gateway: GATEWAY, networkCause },
    ]),
  ],
  [
    'every HTTP status',
    [300, 302, 400, 401, 403, 404, 405, 406, 407, 409, 413, 426, 429, 500, 503, 505, 511].flatMap(
      (status) => [
        ...failuresOf(refusal(status, { 'retry-after': '3600' })),
        ...failuresOf(refusal(status, {}, JSON.stringify({ error: SAID }))),
        ...failuresOf(refusal(status, { location: 'https://login.example.com/' })),
        ...failuresOf(refusal(status, { location: `http://${HOST}/v1/mcp` })),
      ],
    ),
  ],
  [
    'what is in front of the gateway',
    [401, 403, 407, 426, 502, 505, 511].flatMap((status) =>
      [
        refusal(status, { 'content-type': 'text/html', server: SAID }, `<title>${SAID}</title>`),
        refusal(status, { 'www-authenticate': `Negotiate ${SAID}` }),
        refusal(status, { server: SAID }),
        refusal(status, { 'x-squid-error': 'ERR_DNS_FAIL 0' }),
        refusal(status, { upgrade: 'h2' }, ALSO_SAID[0]),
        refusal(status, {}, JSON.stringify({ error: ALSO_SAID[1] })),
      ].flatMap((end) =>
        failuresOf(end).map((failure) =>
          explainRefusal(end, failure, {
            url: new URL(GATEWAY),
            isForwarded: status === 502 || status === 407,
            credential: CIRCUMSTANCES.credential,
            mayRepeat: () => false,
          }),
        ),
      ),
    ),
  ],
  [
    'what the gateway sent instead of a reply',
    [
      'a web page, "ΣΣΣ"',
      'a body of type ΣΣΣ',
      'a body encoded as ΣΣΣ',
      'a broken deflate body',
      'an oversized batch',
      'an empty body',
      'an invalid message. Reason: "jsonrpc" is not "2.0"',
      'an unrelated reply',
      'an error without id',
      'an HTTP+SSE stream',
      'no endpoint event',
      'a bad endpoint event',
    ].flatMap((what) => failuresOf({ kind: 'not-mcp', status: 200, what } as ExchangeOutcome)),
  ],
  [
    'a reply that is too large, missing or an error',
    [
      ...failuresOf({ kind: 'too-large', status: 200 } as ExchangeOutcome),
      ...failuresOf({ kind: 'refused', status: 200, body: Buffer.from('') } as ExchangeOutcome),
      ...failuresOf({ kind: 'bug', error: new Error('x') } as ExchangeOutcome),
      ...failuresOf({ kind: 'accepted', isEventStream: false } as ExchangeOutcome),
    ],
  ],
  [
    'a session or an event stream of its own',
    [
      {
        reason: 'gateway_error',
        gateway: GATEWAY,
        detail: 'it lost the session. It refused to start another',
      },
      { reason: 'wrong_path', status: 404, gateway: GATEWAY, detail: 'HTTP+SSE endpoint' },
      { reason: 'wrong_path', status: 404, gateway: `https://${HOST}/mcp` },
      {
        reason: 'wrong_path',
        status: 404,
        gateway: GATEWAY,
        target: `https://${HOST}/messages`,
        isNamedByGateway: true,
      },
      { reason: 'redirected', gateway: GATEWAY, location: 'https://other.example.com/' },
      { reason: 'invalid_response', gateway: GATEWAY, status: 200, offersHttpSse: true },
    ],
  ],
])('%s', (_, failures) => {
  it.each(
    [...new Map(failures.map((own) => [toRpcError(own).message, own])).entries()].map(
      ([message, failure]) => [message, failure] as const,
    ),
  )('%s', (_message, failure) => expectToBeShort(toRpcError(failure)));
});

describe('the error of a connection', () => {
  const errorOf = (code: string, more: object = {}) =>
    Object.assign(new Error(code), { code, ...more });
  it.each([
    errorOf('ECONNRESET'),
    errorOf('STREAM_ENDED'),
    errorOf('ECONNREFUSED', { address: SAID }),
    errorOf('ETIMEDOUT'),
    errorOf('ETIMEDOUT', { proxy: SAID }),
    errorOf('ERR_ANSWER_TIMEOUT'),
    errorOf('ERR_TLS_CERT_ALTNAME_INVALID', { cert: { subjectaltname: `DNS:${SAID}` } }),
    errorOf('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE'),
    errorOf('HPE_INVALID_CONSTANT'),
    errorOf('ENOTFOUND'),
  ])('$code', (error) => {
    for (const repeats of [true, false]) {
      const isEarly = !/^(?:ECONNRESET|STREAM_ENDED|ERR_ANSWER_TIMEOUT|HPE_.*)$/.test(error.code);
      for (const status of isEarly ? [undefined] : [undefined, 200]) {
        const end = { kind: 'transport-error', error, sent: true, status } as ExchangeOutcome;
        const mayRepeat = () => repeats;
        expectToBeShort(toRpcError(classifyOutcome(end, { ...CIRCUMSTANCES, mayRepeat })));
      }
    }
    const { networkCause, detail } = classifyNetworkError(error, CIRCUMSTANCES);
    const said = detail === undefined ? {} : { detail };
    expectToBeShort(toRpcError({ reason: 'unreachable', gateway: GATEWAY, networkCause, ...said }));
  });
});

it('has the reasons why a keychain cannot be used in a message', () => {
  const replies = [
    undefined,
    { kind: 'ended', how: 'SIGSEGV' },
    { kind: 'ended', how: 'SIGABRT' },
    { kind: 'not-loaded', message: 'libsecret-1.so.0: cannot open' },
    { kind: 'not-loaded', message: "Cannot find module 'keytar'" },
    { kind: 'not-loaded', message: SAID },
    { kind: 'failed', message: 'ServiceUnknown' },
    { kind: 'failed', message: 'it is locked' },
    { kind: 'failed', message: 'no session bus' },
    { kind: 'failed', message: SAID },
  ] as const;
  for (const reply of replies) {
    const answer = answerOf(reply, 10_000);
    if (!('error' in answer)) throw new Error('an answer');
    const { isAbsent, words, advice } = answer.error;
    expect(notPlainEnglish(`${words}. ${advice}`)).toEqual([]);
    const [key] = KEYS;
    expectToBeShort(
      toRpcError({ reason: 'no_api_key', gateway: GATEWAY, detail: words, key: key ?? NONE }),
    );
    // Otherwise the key is not looked for any further.
    if (!isAbsent) continue;
    const found = { ...NONE, keychainError: words };
    expectToBeShort(
      toRpcError({ reason: 'no_api_key', status: 401, gateway: GATEWAY, key: found }),
    );
  }
  const nearMiss = `the keychain has one for ${GATEWAY}/ with a different slash at the end`;
  expectToBeShort(
    toRpcError({
      reason: 'no_api_key',
      status: 401,
      gateway: GATEWAY,
      key: { ...NONE, nearMiss },
    }),
  );
});

it.skipIf(process.platform === 'win32')('has what is wrong with a source of keys', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'k-'));
  const fileWith = (text: string, mode = 0o600) => {
    const file = join(folder, `${Math.random().toString(36).slice(2, 8)}`);
    writeFileSync(file, text);
    chmodSync(file, mode);
    return file;
  };
  const sources: KeySources = {
    url: new URL(GATEWAY),
    headers: new Map(),
    fileHeaders: new Set(),
    keyEnv: 'NO_SUCH_VARIABLE',
  };
  const given: Partial<KeySources>[] = [
    { keyCommand: 'exit 3' },
    { keyCommand: 'no-such-program-here' },
    { keyCommand: 'true' },
    { keyCommand: 'yes' },
    { keyCommand: 'echo two words' },
    { keyFile: join(folder, 'missing') },
    { keyFile: folder },
    { keyFile: '/dev/fd/0' },
    { keyFile: fileWith('') },
    { keyFile: fileWith('sk-1234567890abcdef', 0o644) },
    { keyFile: fileWith('sk-1234567890abcdef', 0o666) },
    { headers: new Map([['authorization', `Bearer \${KEY}`]]) },
  ];
  for (const more of given) {
    const found = await findKey(
      { ...sources, ...more },
      {},
      createLog('error', () => {}),
    );
    if (found.kind !== 'unusable') throw new Error(found.kind);
    const { reason, detail, isPlaceholder, origin: key } = found;
    expectToBeShort(
      toRpcError({
        ...{ reason, gateway: GATEWAY, key },
        ...(detail === undefined ? {} : { detail }),
        ...(isPlaceholder === undefined ? {} : { isPlaceholder }),
      }),
    );
  }
});

describe('an invalid command line', () => {
  const url = GATEWAY;
  it.each<[string[], NodeJS.ProcessEnv?]>([
    [[]],
    [['--header']],
    [[url, '--timeout', '-5']],
    [[url, 'sk-secret']],
    [[url, '--hedaer', 'x']],
    [[url, '--no-such-option-at-all']],
    [[url, '--sk_1234']],
    [[url, '--url', url]],
    [[url, '--api-key', 'x']],
    [['sk-secret-key']],
    [[`${url} --timeout 5`]],
    [['https://']],
    [['https://user:password@x.example/']],
    [[`http://${HOST}/v1/mcp`]],
    [[`${url}?integrations=a`, '--integrations', 'b']],
    [[url, '--account', ' x']],
    [[url, '--timeout', 'soon']],
    [[url, '--max-message-bytes', '3']],
    [[url, '--log-level', 'loud']],
    [[url, '--transport', 'ws']],
    [[url, '--key-header', 'a b']],
    [[url, '--key-header', 'host']],
    [[url, '--header', 'nonsense']],
    [[url, '--header', 'accept: x']],
    [[url, '--header', `x: \${NOPE}`]],
    [[url, '--header', 'x: é']],
    [[url, '--header-file', '/missing/headers']],
    [[url, '--key-env', '']],
  ])('%j', (argv, env = {}) => {
    try {
      readProxySettings(argv, env);
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      expectToBeShort(misconfiguredError((error as Error).message));
      return;
    }
    throw new Error('accepted');
  });
});

it.each([
  tooLargeError(64 * 1024 * 1024),
  internalError(new Error('x')),
  internalError(Object.assign(new Error('x'), { code: 'MODULE_NOT_FOUND' })),
])('$message', (error) => expectToBeShort(error));

const OAUTH = join(import.meta.dirname, '../../src/auth/oauth');
const COMMENT = /\/\*[\s\S]*?\*\/|(?<![:'"`])\/\/.*$/gm;
/** A literal; a template may have templates in it. */
const INNER = '`(?:[^`\\\\]|\\\\.)*`';
const VALUE = `\\$\\{(?:[^{}\`]|${INNER})*\\}`;
const LITERAL = new RegExp(
  `\`((?:[^\`$\\\\]|\\\\.|\\$(?!\\{)|${VALUE})*)\`|'((?:[^'\\\\\\n]|\\\\.)*)'|"((?:[^"\\\\\\n]|\\\\.)*)"`,
  'g',
);

/** Every literal of the source of sign-in that is a sentence, with what is filled in. */
function signInSentences(): string[] {
  // Of the pages in a browser, which no error has.
  const files = readdirSync(OAUTH).filter((name) => name !== 'callback-pages.ts');
  const literals = files.flatMap((name) =>
    [...readFileSync(join(OAUTH, name), 'utf8').replace(COMMENT, '').matchAll(LITERAL)].map(
      ([, template, single, double]) => template ?? single ?? double ?? '',
    ),
  );
  return literals
    .filter(
      (text) => /^(?:[A-Z]|\$\{|--)/.test(text) && /\s/.test(text) && /\.(?:\$\{.*\})?$/.test(text),
    )
    .map((text) =>
      text
        .replace(/\$\{[^}`]*host\}/gi, HOST)
        .replace(new RegExp(VALUE, 'g'), SAID)
        .replace(/\\(.)/g, '$1'),
    );
}

describe('why a sign-in failed', () => {
  it('is in more than 40 sentences, of which some name the server', () => {
    expect(signInSentences().length).toBeGreaterThan(40);
    expect(signInSentences().filter((sentence) => sentence.includes(HOST)).length).toBeGreaterThan(
      8,
    );
  });

  it.each(signInSentences())('is short in an error: %s', (sentence) => {
    const detail = sentence.replace(/\.$/, '');
    const of = (signIn: Failure['signIn']) => ({ gateway: GATEWAY, status: 401, detail, signIn });
    for (const more of [{}, { isTransient: true }]) {
      expectToBeShort(toRpcError({ reason: 'sign_in_required', ...of({}), ...more } as Failure));
    }
  });
});
