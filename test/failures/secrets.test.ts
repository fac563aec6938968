import { describe, expect, it } from 'vitest';
import { toRpcError } from '../../src/failures/catalogue.ts';
import { SecretMatcher } from '../../src/failures/secret-matcher.ts';
import { Secrets } from '../../src/failures/secrets.ts';
import { type Response, readMessages } from '../../src/jsonrpc/message.ts';

const KEY = 'sk-live-0123456789';

function secretsWith(...added: string[]): Secrets {
  const secrets = new Secrets((keys) => new SecretMatcher(keys));
  for (const key of added) secrets.add(key);
  return secrets;
}

function response(text: string): Response {
  return readMessages(Buffer.from(text)).messages[0] as Response;
}

describe('Secrets', () => {
  it('makes the matcher when the first text leaves, and again after a key was added', () => {
    let made = 0;
    const secrets = new Secrets((keys) => {
      made++;
      return new SecretMatcher(keys);
    });
    secrets.add(KEY);
    expect(made).toBe(0);
    expect(secrets.mask(KEY) + secrets.mask(KEY)).toBe('[secret][secret]');
    expect(made).toBe(1);
    secrets.add('another-key-12');
    expect(secrets.mask(`${KEY} another-key-12`)).toBe('[secret] [secret]');
    expect(made).toBe(2);
  });

  it('keeps the 32 newest keys', () => {
    const keys = Array.from({ length: 40 }, (_, n) => `key-number-${n}-x`);
    const secrets = secretsWith(...keys.slice(0, 32), keys[0] as string, ...keys.slice(32));
    const isKnown = (key: string) => secrets.mask(key) === '[secret]';
    expect(keys.filter((key) => !isKnown(key))).toEqual(keys.slice(1, 9));
  });

  it('masks every text of an error but the names that are its own', () => {
    const error = toRpcError({
      reason: 'redirected',
      gateway: 'https://gateway.example/v1/mcp',
      status: 302,
      location: `https://x.example/?k=${KEY}`,
      key: { source: 'key-env', origin: `the variable ${KEY}` },
    });
    const { message, data } = secretsWith(KEY, 'redirected', 'key-env', 'gateway').maskError(error);
    expect(message).toContain(
      'gateway.example redirects to https://x.example/?k=[secret] instead'.slice(7),
    );
    expect(data).toMatchObject({
      reason: 'redirected',
      keySource: 'key-env',
      status: 302,
      location: 'https://x.example/?k=[secret]',
    });
    expect(JSON.stringify({ message, data })).not.toContain(KEY);
  });

  it('leaves results, notifications and errors without a secret as they are', () => {
    const secrets = secretsWith(KEY);
    for (const text of [
      `{"jsonrpc":"2.0","id":1,"result":{"text":"${KEY}"}}`,
      `{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"${KEY}"}}`,
      '{"jsonrpc":"2.0","id":1,"error":{ "code":-32000,"message":"no","data":{"n":1.0}}}',
      `{"jsonrpc":"2.0","id":"${KEY}","error":{"code":-32000,"message":"no"}}`,
    ]) {
      const message = response(text);
      expect(secrets.maskMessage(message)).toBe(message);
    }
  });

  it('masks an error however deep the secret is, and nothing else in it', () => {
    const depth = 20_000;
    const deep = `${'['.repeat(depth)}"${KEY}"${']'.repeat(depth)}`;
    const text = `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":${deep}},"x":1.0}`;
    const { bytes } = secretsWith(KEY).maskMessage(response(text));
    expect(bytes.toString()).toBe(text.replace(KEY, '[secret]'));
  });

  it('leaves code and message of an error that is too large to be searched', () => {
    const data = `${KEY}${'x'.repeat(1024 * 1024)}`;
    const error = { code: -32000, message: `no ${KEY}`, data };
    const { bytes } = secretsWith(KEY).maskMessage(
      response(JSON.stringify({ jsonrpc: '2.0', id: 1, error })),
    );
    expect(JSON.parse(bytes.toString())).toEqual({
      jsonrpc: '2.0',
      id: 1,
      error: { code: -32000, message: 'no [secret]' },
    });
  });

  it('shows nothing of a text when the files of the program are gone', () => {
    const secrets = new Secrets(() => {
      throw Object.assign(new Error(`no ${KEY}`), { code: 'MODULE_NOT_FOUND' });
    });
    expect(secrets.mask(KEY)).toContain("mcp-latchkey's files are missing");
    const text = `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"${KEY}"}}`;
    const { bytes } = secrets.maskMessage(response(text));
    expect(JSON.parse(bytes.toString())).toMatchObject({ id: 1, error: { code: -32004 } });
    expect(bytes.toString()).not.toContain(KEY);
  });
});
