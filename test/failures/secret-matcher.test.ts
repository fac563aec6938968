import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanNetworkText } from '../../src/failures/network-text.ts';
import { SecretMatcher } from '../../src/failures/secret-matcher.ts';

const KEY = 'kg-live_0123456789/abcDEF+xyz';

const percent = (text: string, hex: (code: string) => string) =>
  [...Buffer.from(text)].map((byte) => `%${hex(byte.toString(16).padStart(2, '0'))}`).join('');
const unicode = (text: string) =>
  [...text].map((char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
const base64 = (text: string) => Buffer.from(text).toString('base64');
const base64url = (text: string) => Buffer.from(text).toString('base64url');

/** The ways in which a gateway may write a secret. */
const FORMS: Record<string, (secret: string) => string> = {
  'as it is': (secret) => secret,
  'in upper case': (secret) => secret.toUpperCase(),
  'in lower case': (secret) => secret.toLowerCase(),
  'percent-encoded': encodeURIComponent,
  'percent-encoded in lower hexadecimal': (secret) =>
    encodeURIComponent(secret).replace(/%../g, (code) => code.toLowerCase()),
  'percent-encoded throughout': (secret) => percent(secret, (code) => code.toUpperCase()),
  'percent-encoded twice': (secret) => encodeURIComponent(encodeURIComponent(secret)),
  'as a form field': (secret) => new URLSearchParams({ s: secret }).toString().slice(2),
  'as a JSON string': (secret) => JSON.stringify(secret).slice(1, -1),
  'as JSON within JSON': (secret) => JSON.stringify(JSON.stringify(secret)).slice(3, -3),
  'in escapes of JSON': unicode,
  'with escaped slashes': (secret) => JSON.stringify(secret).slice(1, -1).replaceAll('/', '\\/'),
  'as HTML': (secret) =>
    secret.replace(/[&<>"'/]/g, (char) => `&#${char.charCodeAt(0)};`).replaceAll('-', '&#x2D;'),
  'in base64': base64,
  'in base64 after one byte': (secret) => base64(`:${secret}`),
  'in base64 as a password': (secret) => base64(`me:${secret}`),
  'in base64 before something else': (secret) => base64(`user:${secret}\nmore`),
  'in base64url': (secret) => base64url(`u:${secret}`),
  'in hexadecimal': (secret) => Buffer.from(secret).toString('hex').toUpperCase(),
  'broken over lines': (secret) => secret.replace(/.{5}/g, '$&\r\n  '),
  'with invisible characters': (secret) => secret.replace(/.{3}/g, '$&\u200b\u2060'),
};

/** What a header may carry, less white space at the ends. */
const secrets = fc
  .string({ unit: 'grapheme-ascii', minLength: 12, maxLength: 60 })
  .map((text) => text.replace(/[ %\\&]/g, 'x'));

/** What is left of a text when every way to write a character is undone, by means of others. */
function plain(text: string): string {
  let before = '';
  let after = text.replace(/[\s\u200b\u2060]/g, '');
  while (after !== before) {
    before = after;
    after = after
      .replace(/%([\da-f]{2})/gi, (_, code) => String.fromCharCode(Number.parseInt(code, 16)))
      .replace(/&#x?(\w+);/gi, (entity, code) =>
        String.fromCharCode(Number.parseInt(code, entity.includes('x') ? 16 : 10)),
      )
      .replace(/\\u([\da-f]{4})/gi, (_, code) => String.fromCharCode(Number.parseInt(code, 16)))
      .replace(/\\(.)/gs, '$1');
  }
  return after.toLowerCase();
}

describe('SecretMatcher', () => {
  it.each(Object.entries(FORMS))('finds a secret %s', (_, form) => {
    const matcher = new SecretMatcher([KEY]);
    const text = `Invalid key: ${form(KEY)}, see the docs.`;
    expect(matcher.mask(text)).toMatch(/^Invalid key: \S{0,7}\[secret\]\S{0,7}, see the docs\.$/);
  });

  it('lets no random secret through, in any form, in any text', () => {
    const forms = fc.constantFrom(...Object.values(FORMS));
    fc.assert(
      fc.property(secrets, forms, fc.string(), fc.string(), (secret, form, before, after) => {
        const written = form(secret);
        const masked = new SecretMatcher([secret]).mask(`${before} ${written} ${after}`);
        expect(masked).toContain('[secret]');
        expect(masked).not.toContain(written);
        expect(plain(masked)).not.toContain(plain(secret));
        expect(Buffer.from(masked, 'base64').includes(secret)).toBe(false);
        expect(new SecretMatcher([secret]).mask(masked)).toBe(masked);
      }),
      { numRuns: 500 },
    );
  });

  it('finds secrets with the characters of escapes in them', () => {
    const odd = fc
      .array(
        fc.constantFrom('%41', '%', '\\', '\\n', '&', '&amp;', '"', 'u0041', 'a', 'Z', '9', '<'),
      )
      .chain((parts) =>
        // Also one that is short once its escapes are undone.
        fc.constantFrom('01x', '0123456789').map((end) => `k${parts.join('')}${end}`),
      )
      .filter((secret) => secret.length >= 8);
    const names = ['as it is', 'percent-encoded', 'as a JSON string', 'in base64'];
    const forms = fc.constantFrom(...names.map((name) => FORMS[name] as (text: string) => string));
    fc.assert(
      fc.property(odd, forms, (secret, form) => {
        const masked = new SecretMatcher([secret]).mask(`x ${form(secret)} x`);
        expect(masked).toMatch(/^x .{0,2}\[secret\].{0,3} x$/s);
      }),
    );
  });

  it('keeps JSON valid and everything else in it as it was', () => {
    const forms = fc.constantFrom(...Object.values(FORMS));
    fc.assert(
      fc.property(secrets, forms, fc.json(), fc.string(), (secret, form, json, name) => {
        const value = { [name]: JSON.parse(json), said: `${form(secret)} "`, [form(secret)]: [1] };
        for (const text of [JSON.stringify(value), JSON.stringify(value, null, 1)]) {
          const masked = new SecretMatcher([secret]).mask(text, true);
          const read = JSON.parse(masked);
          expect(read.said).toMatch(/\[secret\].* "$/s);
          if (!JSON.stringify(value[name]).includes(secret))
            expect(read[name]).toEqual(value[name]);
          expect(plain(masked)).not.toContain(plain(secret));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('does not match across the quotes of JSON', () => {
    const json = '{"user":"name","password":"12345678"}';
    expect(new SecretMatcher(['name","password":"1234']).mask(json, true)).toBe(json);
    expect(new SecretMatcher([':"name","pass']).mask(json, true)).toBe(json);
  });

  it('leaves every text without the secret as it was', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.string({ unit: 'binary' }), fc.json(), (secret, text, json) => {
        const matcher = new SecretMatcher([secret, 'correct horse battery']);
        expect(matcher.mask(text)).toBe(text);
        expect(matcher.mask(json, true)).toBe(json);
      }),
      { numRuns: 100 },
    );
  });

  it('finds what is left of a secret that was cut off', () => {
    const matcher = new SecretMatcher([KEY, 'short12']);
    for (let length = 485; length < 499; length++) {
      const text = cleanNetworkText(`${'x '.repeat(250).slice(0, length)}${KEY} and more`);
      if (length <= 495) expect(matcher.mask(text)).toMatch(/x ?\[secret\]…$/);
      expect(matcher.mask(text)).not.toContain(KEY.slice(0, 4));
    }
    expect(matcher.mask(`starts with ${KEY.slice(0, 20)}`)).toBe('starts with [secret]');
    expect(matcher.mask(`ends in …${KEY.slice(-4)}`)).toBe(`ends in …${KEY.slice(-4)}`);
  });

  it('masks short secrets as whole words only, and none of under 4 characters', () => {
    const matcher = new SecretMatcher(['pass', 'abc', '']);
    expect(matcher.mask('pass, user:pass@x, password, PASS, abc')).toBe(
      '[secret], user:[secret]@x, password, [secret], abc',
    );
    expect(new SecretMatcher(['secret']).mask('[secret] secret')).toBe('[secret] [secret]');
  });

  it('finds non-ASCII passwords', () => {
    const matcher = new SecretMatcher(['pässwörd-1234']);
    for (const text of ['pässwörd-1234', 'p%C3%A4ssw%c3%b6rd-1234', unicode('pässwörd-1234')]) {
      expect(matcher.mask(`(${text})`)).toBe('([secret])');
    }
    expect(matcher.mask(Buffer.from('pässwörd-1234').toString('latin1'))).toBe('[secret]');
  });

  it('finds every secret in a long text, wherever it is, in time', () => {
    const matcher = new SecretMatcher([KEY]);
    const start = performance.now();
    for (const filler of ['x', 'ab "c" ', '\\', '%25', '\\"', '&#x', KEY.slice(0, 4), '…', ' ']) {
      const gap = filler.repeat(Math.ceil(100_000 / filler.length));
      const masked = matcher.mask(`${gap} ${KEY}|${gap} ${unicode(KEY)}|${gap} ${base64(KEY)}|`);
      expect(masked.split('[secret]').length - 1).toBe(3);
    }
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});

it('mayFind tells of the secrets of both matchers, whichever is asked', () => {
  const one = new SecretMatcher(['first-secret-1234']);
  const two = new SecretMatcher(['other-secret-5678']);
  const none = new SecretMatcher([]);
  const text = (own: string) => Buffer.from(`{"a":"${own}"}`);
  for (const [asked, other] of [
    [one, two],
    [two, one],
  ] as const) {
    expect(asked.mayFind(text('first-secret-1234'), other)).toBe(true);
    expect(asked.mayFind(text('other-secret-5678'), other)).toBe(true);
    expect(asked.mayFind(text('nothing of the kind'), other)).toBe(false);
  }
  expect(none.mayFind(text('first-secret-1234'), one)).toBe(true);
  expect(one.mayFind(text('first-secret-1234'), none)).toBe(true);
  expect(none.mayFind(text('first-secret-1234'), none)).toBe(false);
});
