import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Redaction } from '../../src/doctor/redaction.ts';
import { SecretMatcher } from '../../src/failures/secret-matcher.ts';
import { Secrets } from '../../src/failures/secrets.ts';

const KEY = 'kg_live_0123456789abcdef';

function secretsWith(key: string): Secrets {
  const secrets = new Secrets((keys) => new SecretMatcher(keys));
  secrets.add(key);
  return secrets;
}

function redaction(own: Partial<ConstructorParameters<typeof Redaction>[0]> = {}) {
  return new Redaction({
    keysOnly: false,
    gatewayHost: 'api.kindo.ai',
    secrets: secretsWith(KEY),
    homes: ['/home/ada'],
    userName: 'ada',
    machines: ['ADA-LAPTOP-7'],
    proxies: ['proxy.corp.example', 'proxy'],
    ...own,
  });
}

describe('Redaction', () => {
  it.each([
    ['the gateway', 'https://api.kindo.ai/v1/mcp', 'https://api.kindo.ai/v1/mcp'],
    ['what its name tells', 'for *.kindo.ai by E5', 'for *.kindo.ai by E5'],
    ['another host', 'at https://docs.kindo.ai/keys .', 'at https://[host-1]/keys .'],
    ['a bare host', 'db-1.corp.local: down', '[host-1]: down'],
    ['a host and its port', 'x.example:8443', '[host-1]:8443'],
    ['the same host twice', 'a.example B.example A.EXAMPLE', '[host-1] [host-2] [host-1]'],
    ['a wildcard', 'for *.corp.example', 'for *.[host-1]'],
    ['letters of any script', 'bücher.example', '[host-1]'],
    ['a host at the end', 'Ask mail.corp.example.', 'Ask [host-1].'],
    ['a host name as a user writes it', 'ada@corp.example', '[user]@[host-1]'],
    ['IPv4', 'from 10.1.2.3:443', 'from [address-1]:443'],
    ['IPv6', 'fe80::1%eth0 and [2001:db8::7]:443', '[address-1] and [[address-2]]:443'],
    ['loopback', '127.0.0.1, ::1 and localhost', '127.0.0.1, ::1 and localhost'],
    [
      'versions',
      'Node.js 20.20.2, TLS 1.3, MCP 2025-11-25',
      'Node.js 20.20.2, TLS 1.3, MCP 2025-11-25',
    ],
    ['dots in a row', 'wait...done, a..b', 'wait...done, a..b'],
    ['a number behind a host', 'x.example.1', '[host-1].1'],
    ['abbreviations', 'such as, e.g., this', 'such as, e.g., this'],
    ['times', '12:30:45 and 12:30', '12:30:45 and 12:30'],
    ['files', 'docs/errors.md, a.json, keytar.node', 'docs/errors.md, a.json, keytar.node'],
    ['backups', '~/.cursor/mcp.json.20260131.bak', '~/.cursor/mcp.json.20260131.bak'],
    ['a home', 'the file /home/ada/.keys/k', 'the file ~/.keys/k'],
    ['a user elsewhere', '/mnt/c/Users/ada/x and adamant', '/mnt/c/Users/[user]/x and adamant'],
    ['this computer', 'CN=ada-laptop-7', 'CN=[this computer]'],
    ['a proxy', 'through proxy.corp.example:3128', 'through [proxy]:3128'],
    [
      'a proxy that is a word',
      'the HTTP proxy proxy:80, a proxy',
      'the HTTP proxy [proxy]:80, a proxy',
    ],
    ['a key', `key ${KEY} is bad`, 'key [secret] is bad'],
  ])('leaves or masks %s', (_, text, masked) => {
    expect(redaction().mask(text)).toBe(masked);
  });

  it.each([
    ['as it is', 'C:\\Users\\Ada Löv\\x'],
    ['in another case', 'c:\\users\\ADA LÖV\\x'],
    ['with slashes', 'C:/Users/Ada Löv/x'],
    ['in JSON', 'C:\\\\Users\\\\Ada Löv\\x'],
    ['as a file URL', 'C:/Users/Ada%20L%C3%B6v/x'],
  ])('masks a home folder of Windows %s', (_, text) => {
    const own = redaction({ homes: ['C:\\Users\\Ada Löv'], userName: 'Ada Löv' });
    expect(own.mask(`in ${text}`)).toMatch(/^in ~[\\/]x$/);
  });

  it('masks what is in a home folder with half a surrogate pair in its name', () => {
    const own = redaction({ homes: ['C:\\Users\\x\ud83d'], userName: '' });
    expect(own.mask('C:\\Users\\x\ud83d\\y')).toBe('~\\y');
  });

  it('masks the name of a user in any case, and as Windows shortens it', () => {
    const own = redaction({ homes: [], userName: 'Ada Lovelace' });
    expect(own.mask('D:\\ADA LOVELACE\\x')).toBe('D:\\[user]\\x');
    expect(own.mask('C:\\Users\\ADALOV~1\\AppData')).toBe('C:\\Users\\[user]\\AppData');
    expect(own.mask('C:/Users/ADALOV~1/AppData')).toBe('C:/Users/[user]/AppData');
  });

  it('shows the addresses that are the gateway’s', () => {
    const own = redaction();
    own.show(['203.0.113.7', '2001:db8::7']);
    expect(own.mask('203.0.113.7 2001:db8::7 203.0.113.70')).toBe(
      '203.0.113.7 2001:db8::7 [address-1]',
    );
  });

  it('masks nothing but keys where that is asked for, also one that is found later', () => {
    const secrets = secretsWith(KEY);
    const own = redaction({ keysOnly: true, secrets });
    expect(own.mask(KEY)).toBe('[secret]');
    secrets.add('another-key');
    expect(own.mask(`${KEY} another-key /home/ada 10.1.2.3 x.example`)).toBe(
      '[secret] [secret] /home/ada 10.1.2.3 x.example',
    );
  });

  it('masks every string in a value, and nothing else', () => {
    const value = { a: [1, true, 'x.example'], b: { c: null, d: KEY }, e: undefined };
    expect(redaction().maskAll(value)).toEqual({
      a: [1, true, '[host-1]'],
      b: { c: null, d: '[secret]' },
      e: undefined,
    });
  });

  it('lets no host or key through, wherever it stands', () => {
    const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$/);
    const host = fc.tuple(label, label).map((labels) => `${labels.join('.')}.example`);
    const around = fc.constantFrom(
      '',
      ' ',
      '/',
      '"',
      '(',
      ', ',
      '@',
      '=',
      ':',
      '*.',
      '-',
      '.',
      '_',
    );
    fc.assert(
      fc.property(host, around, around, (name, before, after) => {
        const masked = redaction().mask(`${before}${name}${after}${KEY}${after}`);
        expect(masked).not.toContain(name);
        expect(masked).not.toContain(KEY);
        expect(redaction().mask(masked)).toBe(masked);
      }),
    );
  });

  it('reads long texts in time', () => {
    const start = performance.now();
    for (const piece of ['a', 'a.', 'a-', '-', '1.', '1.a', ':', 'f:']) {
      const text = piece.repeat(10_000);
      redaction().mask(text);
    }
    expect(performance.now() - start).toBeLessThan(5_000);
  });
});
