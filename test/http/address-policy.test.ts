import { createRequire } from 'node:module';
import type { LookupFunction } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { lookupFor, mayLeadTo } from '../../src/http/address-policy.ts';

const LOOPBACK = ['localhost', 'a.localhost.', '127.0.0.1', '127.9.9.9', '::1', '[::1]'];
const PRIVATE = ['10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fd00::1', 'fec0::1'];
const OTHERS = {
  'link-local': ['169.254.169.254', 'fe80::1', 'fe80::1%eth0', '[febf::1]'],
  shared: ['100.64.0.1', '100.127.255.255'],
  multicast: ['224.0.0.1', '239.255.255.255', 'ff02::1'],
  unspecified: ['0.0.0.0', '0.1.2.3', '::', '[::]'],
  reserved: ['192.0.0.1', '198.18.0.1', '255.255.255.255', '64:ff9b:1::1', '2001::1'],
};
const PUBLIC = [
  ...['api.example.com', '8.8.8.8', '172.15.0.1', '172.32.0.1', '100.63.0.1', '100.128.0.1'],
  ...['169.253.0.1', '11.0.0.1', '223.255.255.255', '2606:4700::1', '[2a00::1]', '127.example.com'],
  ...['::ffff:8.8.8.8', '64:ff9b::8.8.8.8', '2002:808:808::1', ''],
];
const KINDS = [LOOPBACK, PRIVATE, ...Object.values(OTHERS)];

describe('where a gateway may lead to', () => {
  it.each(KINDS)('is %s and others like it where the gateway is such a host itself', (...hosts) => {
    for (const host of hosts) {
      for (const gateway of hosts) expect(mayLeadTo(host, gateway), host + gateway).toBe(true);
      for (const gateway of [...PUBLIC, ...KINDS.filter((kind) => kind[0] !== hosts[0]).flat()]) {
        expect(mayLeadTo(host, gateway), `${host} from ${gateway}`).toBe(false);
      }
    }
  });

  it('is any public host', () => {
    for (const host of PUBLIC) {
      for (const gateway of [...PUBLIC, ...KINDS.flat()]) {
        expect(mayLeadTo(host, gateway), `${host} from ${gateway}`).toBe(true);
      }
    }
  });

  it('is no address in another form that it is not in its own', () => {
    const octet = fc.nat(255);
    const first = fc.oneof(octet, fc.constantFrom(0, 10, 100, 127, 169, 172, 192, 198, 224));
    fc.assert(
      fc.property(first, octet, octet, octet, (a, b, c, d) => {
        const address = [a, b, c, d].join('.');
        const hex = Buffer.from([a, b, c, d])
          .toString('hex')
          .replace(/(?=....$)/, ':');
        const plain = mayLeadTo(address, 'api.example.com');
        const forms = [`::ffff:${address}`, `64:ff9b::${address}`, `2002:${hex}::1`];
        // `::` and `::1` are addresses of their own.
        if (a + b > 0) forms.push(`::${address}`);
        for (const form of [...forms, ...forms.map((own) => new URL(`http://[${own}]`).hostname)]) {
          expect(mayLeadTo(form, 'api.example.com'), form).toBe(plain);
        }
      }),
    );
  });
});

describe('a name that a gateway has named', () => {
  type Found = { address: string; family: number }[];

  /** Has every name stand for these, as node:net asks for them. */
  function lookup(gateway: string, found: Found | Error, all = true) {
    const dns = createRequire(import.meta.url)('node:dns');
    const before = dns.lookup;
    onTestFinished(() => {
      dns.lookup = before;
    });
    dns.lookup = ((_name, _options, callback) => {
      if (found instanceof Error) callback(found, '');
      else callback(null, found);
    }) as LookupFunction;
    return new Promise<unknown>((resolve) => {
      lookupFor(gateway)('name.example', { all }, (error, address, family) =>
        resolve(error ?? (family === undefined ? address : { address, family })),
      );
    });
  }

  const own = { address: '127.0.0.1', family: 4 };
  const mapped = { address: '::ffff:10.0.0.1', family: 6 };
  const far = { address: '93.184.216.34', family: 4 };

  it('leads to no address that the gateway must not lead to', async () => {
    expect(await lookup('api.example.com', [own, mapped])).toMatchObject({
      code: 'ERR_ADDRESS_REFUSED',
    });
    expect(await lookup('api.example.com', [own, mapped, far])).toEqual([far]);
    expect(await lookup('10.9.9.9', [own, mapped, far])).toEqual([mapped, far]);
    expect(await lookup('::1', [own, mapped])).toEqual([own]);
  });

  it('is looked up as node:net asks for it', async () => {
    expect(await lookup('api.example.com', [own, far], false)).toEqual(far);
    const failure = new Error('not found');
    expect(await lookup('api.example.com', failure)).toBe(failure);
  });
});
