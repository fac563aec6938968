import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bearerChallenge, parseChallenges } from '../../src/auth/challenge.ts';
import { rounds } from '../property-rounds.ts';

/** The challenges in plain words: `[scheme, token68 or parameters]`. */
const read = (...values: string[]) =>
  parseChallenges(values).map(({ scheme, token68, parameters }) => [
    scheme,
    token68 ?? Object.fromEntries(parameters),
  ]);

describe('parseChallenges', () => {
  it.each<[what: string, header: string, challenges: unknown[]]>([
    ['a lone scheme', 'Bearer', [['bearer', {}]]],
    ['one parameter', 'Basic realm="foo"', [['basic', { realm: 'foo' }]]],
    ['any case of scheme and name', 'BASIC REALM="Foo"', [['basic', { realm: 'Foo' }]]],
    ['a token as value', 'Basic realm=foo', [['basic', { realm: 'foo' }]]],
    ['white space around "="', 'Basic realm \t= \t"foo"', [['basic', { realm: 'foo' }]]],
    ['an empty quoted string', 'Basic realm=""', [['basic', { realm: '' }]]],
    ['escapes', String.raw`Basic realm="\"a\\b\c\""`, [['basic', { realm: '"a\\bc"' }]]],
    [
      'commas and "=" in quotes',
      'Basic a="x, Bearer y=z", b=c',
      [['basic', { a: 'x, Bearer y=z', b: 'c' }]],
    ],
    [
      'empty list elements',
      ', ,Basic a="x",, b=y,,,c=z, ,',
      [['basic', { a: 'x', b: 'y', c: 'z' }]],
    ],
    [
      'an empty element before the first parameter',
      'Basic , realm="foo"',
      [['basic', { realm: 'foo' }]],
    ],
    ['token68', 'Negotiate YII+/0-._~==', [['negotiate', 'YII+/0-._~==']]],
    [
      'token68 with white space behind it',
      'NTLM TlRM \t, Basic a=b',
      [
        ['ntlm', 'TlRM'],
        ['basic', { a: 'b' }],
      ],
    ],
    ['a parameter that is no token68', 'A b=c', [['a', { b: 'c' }]]],
    [
      'schemes without anything',
      'Negotiate, NTLM,Bearer',
      [
        ['negotiate', {}],
        ['ntlm', {}],
        ['bearer', {}],
      ],
    ],
    [
      'a parameter named like a scheme',
      'New basic=foo, Basic realm="b"',
      [
        ['new', { basic: 'foo' }],
        ['basic', { realm: 'b' }],
      ],
    ],
    ['non-ASCII characters in quotes', 'Basic realm="foo-ä"', [['basic', { realm: 'foo-ä' }]]],
    // RFC 9110 §11.6.1
    [
      "RFC 9110's example",
      String.raw`Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\""`,
      [
        ['basic', { realm: 'simple' }],
        ['newauth', { realm: 'apps', type: '1', title: 'Login to "apps"' }],
      ],
    ],
    // RFC 9728 §5.1, as printed there: folded
    [
      "RFC 9728's example",
      'Bearer error="invalid_request",\r\n  error_description="No access token was provided in this request",\r\n  resource_metadata=\r\n  "https://resource.example.com/.well-known/oauth-protected-resource"',
      [
        [
          'bearer',
          {
            error: 'invalid_request',
            error_description: 'No access token was provided in this request',
            resource_metadata: 'https://resource.example.com/.well-known/oauth-protected-resource',
          },
        ],
      ],
    ],
  ])('reads %s', (_what, header, challenges) => {
    expect(read(header)).toEqual(challenges);
  });

  it.each<[what: string, header: string, challenges: unknown[]]>([
    [
      'a comma after the scheme (oauthlib#676, ESP#843)',
      'Bearer, error="invalid_token"',
      [['bearer', { error: 'invalid_token' }]],
    ],
    [
      'no commas (Starburst, jetty#14008)',
      'Bearer realm="R" error="invalid_client" error_description="No description"',
      [['bearer', { realm: 'R', error: 'invalid_client', error_description: 'No description' }]],
    ],
    [
      'words without quotes (oauthlib#676)',
      'Bearer error=access_denied, error_description=The token expired, realm=x',
      [['bearer', { error: 'access_denied', error_description: 'The token expired', realm: 'x' }]],
    ],
    [
      'words without quotes and commas',
      'Bearer error_description=The token expired realm=x',
      [['bearer', { error_description: 'The token expired', realm: 'x' }]],
    ],
    [
      'a URL without quotes',
      'Bearer resource_metadata=https://a.example/x?y=z, scope=s',
      [['bearer', { resource_metadata: 'https://a.example/x?y=z', scope: 's' }]],
    ],
    [
      'a word out of place',
      'Bearer realm="a" oops scope="s"',
      [['bearer', { realm: 'a', scope: 's' }]],
    ],
    [
      'a word that runs into a quote',
      'Bearer realm="a", b"c", scope="s"',
      [['bearer', { realm: 'a', scope: 's' }]],
    ],
    ['semicolons', 'Bearer realm="a"; error="b"', [['bearer', { realm: 'a', error: 'b' }]]],
    ['an unclosed quote', 'Bearer realm="a, error=b', [['bearer', { realm: 'a, error=b' }]]],
    ['an unclosed quote with a lone backslash', 'Bearer realm="a\\', [['bearer', { realm: 'a' }]]],
    [
      'quotes in quotes',
      'Bearer error_description="The "key" is bad", scope="s"',
      [['bearer', { error_description: 'The ', scope: 's' }]],
    ],
    [
      'a value missing later',
      'Bearer error="b", realm = ,scope=s',
      [['bearer', { error: 'b', realm: '', scope: 's' }]],
    ],
    ['JSON', 'Bearer {"error": "x"}, scope="s"', [['bearer', { scope: 's' }]]],
    ['a parameter without a scheme', 'realm="a", Bearer scope="s"', [['bearer', { scope: 's' }]]],
    [
      'a name that objects inherit',
      'Bearer __proto__="a", constructor="b"',
      [['bearer', JSON.parse('{"__proto__":"a","constructor":"b"}')]],
    ],
    ['nothing', '', []],
    ['nothing but punctuation', ' ,;"=@, =, ', []],
  ])('takes what it can from %s', (_what, header, challenges) => {
    expect(read(header)).toEqual(challenges);
  });

  it('takes `realm=` for the token68 that the grammar says it is, and reads on', () => {
    const [challenge] = parseChallenges(['Bearer realm=, error="b"']);
    expect(challenge?.token68).toBe('realm=');
    expect(challenge?.parameters).toEqual(new Map([['error', 'b']]));
  });

  it('keeps the first of two parameters with the same name', () => {
    expect(read('Bearer A=1, a=2, A="3"')).toEqual([['bearer', { a: '1' }]]);
  });

  it('reads several headers as one list, and an unclosed quote ends with its header', () => {
    expect(read('Basic realm="a', 'Bearer scope="s"', 'error="e"')).toEqual([
      ['basic', { realm: 'a' }],
      ['bearer', { scope: 's', error: 'e' }],
    ]);
  });

  it('reads back what an independent writer wrote', () => {
    fc.assert(
      fc.property(headers, ({ values, challenges }) => {
        expect(read(...values)).toEqual(challenges);
      }),
      { numRuns: rounds(2000) },
    );
  });

  it('never throws, and every scheme and name is a token in lower case', () => {
    const pieces = fc.constantFrom(
      ...[
        'Bearer ',
        'Basic',
        ',',
        ' ',
        '\t',
        '=',
        '"',
        '\\',
        'a',
        'ab=',
        '\r\n',
        '\0',
        'ä',
        '\ud83d',
      ],
      ...['realm="', 'resource_metadata=', '==', ';', '\ufeff', '__proto__'],
    );
    const value = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(pieces, { maxLength: 40 }).map((all) => all.join('')),
    );
    fc.assert(
      fc.property(fc.array(value), (values) => {
        const challenges = parseChallenges(values);
        for (const { scheme, parameters } of challenges) {
          for (const token of [scheme, ...parameters.keys()]) {
            expect(token).toMatch(/^[!#$%&'*+.^_`|~0-9a-z-]+$/);
          }
        }
        bearerChallenge(challenges);
      }),
      { numRuns: rounds(3000) },
    );
  });

  it.each([
    ...[
      'a',
      ' ',
      ',',
      '=',
      '"',
      '\\',
      '"\\',
      'a ',
      'a=',
      'a =',
      'a="',
      'a, ',
      '" ',
      'a b=',
      'A a= ',
    ],
    ...['=\t', 'x="\\" ', 'a=a ', '~=', '\0'],
  ])('reads 20 MB of %j without delay and stops after 16 KiB', (piece) => {
    const text = `Bearer realm="r", ${piece.repeat(20_000_000 / piece.length)}`;
    text.charCodeAt(10_000_000);
    const started = performance.now();
    const challenges = parseChallenges([text, text]);
    const took = performance.now() - started;
    expect(challenges[0]?.parameters.get('realm')).toBe('r');
    // Linear reading takes 1 to 5 ms; the quadratic kind took seconds.
    expect(took).toBeLessThan(1_000);
  });

  it('ignores what lies beyond 16,384 characters, in one value or in several', () => {
    const filler = `A b="${'x'.repeat(16_000)}"`;
    expect(read(filler, ' '.repeat(1000), 'Bearer')).toHaveLength(1);
    expect(read(`${filler}${' '.repeat(1000)}, Bearer`)).toHaveLength(1);
    expect(read(filler, 'Bearer')).toHaveLength(2);
  });
});

describe('bearerChallenge', () => {
  const bearer = (...values: string[]) => bearerChallenge(parseChallenges(values));

  it("reads the gateway's own challenge", () => {
    expect(
      bearer(
        'Bearer resource_metadata="https://api.kindo.ai/.well-known/oauth-protected-resource"',
      ),
    ).toEqual({
      resourceMetadata: 'https://api.kindo.ai/.well-known/oauth-protected-resource',
    });
  });

  it('reads all that RFC 6750 and RFC 9728 define', () => {
    expect(
      bearer(
        'Bearer realm="example", error="invalid_token", error_description="The access token expired", scope="a b", resource_metadata="https://a.example/m"',
      ),
    ).toEqual({
      realm: 'example',
      error: 'invalid_token',
      errorDescription: 'The access token expired',
      scope: 'a b',
      resourceMetadata: 'https://a.example/m',
    });
  });

  it('finds Bearer behind other schemes and in a later header', () => {
    expect(bearer('Basic realm="b", bEaReR scope="s"')).toEqual({ scope: 's' });
    expect(bearer('Negotiate abc==', 'Bearer scope="s"')).toEqual({ scope: 's' });
  });

  it('prefers the Bearer challenge that names its metadata, then the first', () => {
    expect(
      bearer('Bearer realm="proxy"', 'Bearer resource_metadata="https://a.example/m"'),
    ).toEqual({ resourceMetadata: 'https://a.example/m' });
    // better-auth sends one challenge for each of its resources
    expect(
      bearer(
        'Bearer resource_metadata="https://a.example/1", Bearer resource_metadata="https://a.example/2"',
      ),
    ).toEqual({ resourceMetadata: 'https://a.example/1' });
    expect(bearer('Bearer realm="1", Bearer realm="2"')).toEqual({ realm: '1' });
  });

  it('takes the first resource_metadata when a server sends two (sentry-mcp#939)', () => {
    expect(
      bearer(
        'Bearer realm="OAuth", resource_metadata="https://mcp.sentry.dev/.well-known/oauth-protected-resource", error="invalid_token", resource_metadata="https://mcp.sentry.dev/.well-known/oauth-protected-resource/mcp"',
      )?.resourceMetadata,
    ).toBe('https://mcp.sentry.dev/.well-known/oauth-protected-resource');
  });

  it('takes single quotes off a URL (qwen-code#5343), and off nothing else', () => {
    expect(bearer("Bearer resource_metadata = 'https://a.example/m', realm='r'")).toEqual({
      resourceMetadata: 'https://a.example/m',
      realm: "'r'",
    });
  });

  it('counts empty values as absent', () => {
    expect(bearer('Bearer realm="", error="", resource_metadata=""')).toEqual({});
    expect(bearer('Bearer')).toEqual({});
    expect(bearer('Bearer abc=')).toEqual({});
  });

  it('is undefined without a Bearer or DPoP challenge', () => {
    expect(bearer('Basic realm="Bearer"', 'Negotiate')).toBeUndefined();
    expect(bearer()).toBeUndefined();
  });

  it('is also that of DPoP, which has the same parameters', () => {
    expect(bearer('DPoP algs="ES256", error="use_dpop_nonce"')).toEqual({
      error: 'use_dpop_nonce',
    });
  });
});

// The writer: RFC 9110's grammar, with everything in it that is optional left to chance.
const characters = (from: string, range?: [number, number]) =>
  fc.constantFrom(
    ...from,
    ...(range === undefined
      ? []
      : Array.from({ length: range[1] - range[0] + 1 }, (_, i) =>
          String.fromCharCode(range[0] + i),
        )),
  );
const ALPHANUMERIC = 'abcxyzABCXYZ0189';
const token = fc.string({
  unit: characters(`!#$%&'*+-.^_\`|~${ALPHANUMERIC}`),
  minLength: 1,
  maxLength: 8,
});
const token68 = fc
  .tuple(
    fc.string({ unit: characters(`-._~+/${ALPHANUMERIC}`), minLength: 1, maxLength: 12 }),
    fc.nat({ max: 2 }),
  )
  .map(([text, padding]) => text + '='.repeat(padding));
const optionalSpace = fc.string({ unit: fc.constantFrom(' ', '\t'), maxLength: 2 });
const quotedText = fc.array(
  fc.record({ character: characters('\t', [0x20, 0xff]), escaped: fc.boolean() }),
  { maxLength: 12 },
);
const parameter = fc
  .record({
    name: token,
    quoted: fc.option(quotedText),
    plain: token,
    before: optionalSpace,
    after: optionalSpace,
  })
  .map(({ name, quoted, plain, before, after }) => {
    const value = quoted === null ? plain : quoted.map(({ character }) => character).join('');
    const written =
      quoted === null
        ? plain
        : `"${quoted.map(({ character, escaped }) => (escaped || /["\\]/.test(character) ? `\\${character}` : character)).join('')}"`;
    return {
      name: name.toLowerCase(),
      value,
      text: `${name}${before}=${before}${after}${written}`,
    };
  });
const separator = fc
  .array(fc.tuple(optionalSpace, optionalSpace), { minLength: 1, maxLength: 3 })
  .map((commas) => commas.map(([before, after]) => `${before},${after}`).join(''));
const challenge = fc
  .record({
    scheme: token,
    spaces: fc.constantFrom(' ', '  '),
    lead: fc.option(separator),
    rest: fc.oneof(
      token68,
      fc.array(fc.tuple(parameter, separator), { maxLength: 4 }).map((all) => {
        const names = new Set<string>();
        return all.filter(([{ name }]) => !names.has(name) && names.add(name));
      }),
    ),
  })
  .map(({ scheme, spaces, lead, rest }) => {
    const name = scheme.toLowerCase();
    if (typeof rest === 'string') {
      return { text: `${scheme}${spaces}${rest}`, meaning: [name, rest] as const };
    }
    if (rest.length === 0) return { text: scheme, meaning: [name, {}] as const };
    const text = rest.map(([{ text }, comma], i) => (i === 0 ? text : `${comma}${text}`)).join('');
    const parameters = Object.fromEntries(rest.map(([{ name, value }]) => [name, value]));
    return { text: `${scheme}${spaces}${lead ?? ''}${text}`, meaning: [name, parameters] as const };
  });
const headers = fc
  .array(fc.record({ challenge, comma: separator, newHeader: fc.boolean() }), { maxLength: 5 })
  .map((all) => {
    const values: string[] = [];
    for (const { challenge, comma, newHeader } of all) {
      if (newHeader || values.length === 0) values.push(challenge.text);
      else values.push(`${values.pop()}${comma}${challenge.text}`);
    }
    return { values, challenges: all.map(({ challenge }) => challenge.meaning) };
  });
