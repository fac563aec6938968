import type { LookupFunction } from 'node:net';
import { withoutBrackets } from './environment-proxy.ts';
import { guarded } from './guarded.ts';
import { isLoopbackHost } from './loopback.ts';

// Not imported: a session that meets no failure and no link needs neither.
const net = () => process.getBuiltinModule('node:net');
const dns = () => process.getBuiltinModule('node:dns');

/**
 * Ranges that are not the public internet (IANA's special-purpose address registries), by kind. The
 * order counts: `::1` lies in what `0.0.0.0/8` is in IPv6.
 */
const RANGES: readonly (readonly [kind: string, ranges: readonly string[]])[] = [
  ['loopback', ['127.0.0.0/8', '::1/128']],
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fec0::/10']],
  ['link-local', ['169.254.0.0/16', 'fe80::/10']],
  ['shared', ['100.64.0.0/10']],
  ['multicast', ['224.0.0.0/4', 'ff00::/8']],
  ['unspecified', ['0.0.0.0/8', '::/128']],
  // The local-use prefix of RFC 8215, and Teredo.
  ['reserved', ['192.0.0.0/24', '198.18.0.0/15', '240.0.0.0/4', '64:ff9b:1::/48', '2001::/32']],
];

type BlockList = InstanceType<typeof import('node:net').BlockList>;
let lists: readonly (readonly [kind: string, list: BlockList])[] | undefined;

/**
 * Whether a host may be contacted or shown because a gateway names it: one on the public internet
 * always, one of a special kind (this computer, a private network, …) only where the gateway itself
 * is of that kind. Both hosts as `URL.hostname` has them, or addresses. A name other than
 * `localhost` is let through: `lookupFor` judges the addresses that it stands for.
 */
export function mayLeadTo(host: string, gateway: string): boolean {
  const kind = kindOf(host);
  return kind === 'public' || kind === kindOf(gateway);
}

/**
 * Looks names up for connections that a gateway, which was reached at `gateway`, has asked for:
 * leaves out every address that `mayLeadTo` refuses, and fails when none is left.
 */
export function lookupFor(gateway: string): LookupFunction {
  return (hostname, options, callback) => {
    const onAddresses = (
      error: NodeJS.ErrnoException | null,
      all: readonly { address: string; family: number }[],
    ) => {
      const allowed = error ? [] : all.filter(({ address }) => mayLeadTo(address, gateway));
      const [first] = allowed;
      if (error || first === undefined) callback(error ?? new AddressRefused(), '');
      else if (options.all) callback(null, allowed);
      else callback(null, first.address, first.family);
    };
    dns().lookup(
      hostname,
      { ...options, all: true },
      guarded(onAddresses, (bug) => callback(bug, '')),
    );
  };
}

class AddressRefused extends Error {
  readonly code = 'ERR_ADDRESS_REFUSED';
  override readonly message =
    'its address is on this computer or a private network, and the gateway is not';
}

function kindOf(host: string): string {
  if (isLoopbackHost(host)) return 'loopback';
  const address = withoutBrackets(host).replace(/%.*$/, '');
  const family = net().isIP(address);
  if (family === 0) return 'public';
  lists ??= RANGES.map(([kind, ranges]) => [kind, listOf(ranges)]);
  const found = lists.find(([, list]) => list.check(address, family === 4 ? 'ipv4' : 'ipv6'));
  return found?.[0] ?? 'public';
}

/** Has each range of IPv4 also in the forms in which IPv6 carries such addresses. */
function listOf(ranges: readonly string[]): BlockList {
  const list = new (net().BlockList)();
  for (const range of ranges) {
    const [base = '', length] = range.split('/');
    const bits = Number(length);
    if (base.includes(':')) {
      list.addSubnet(base, bits, 'ipv6');
      continue;
    }
    list.addSubnet(base, bits, 'ipv4');
    // IPv4-mapped, IPv4-compatible (RFC 4291 §2.5.5), NAT64 (RFC 6052 §2.1).
    for (const prefix of ['::ffff:', '::', '64:ff9b::']) {
      list.addSubnet(prefix + base, 96 + bits, 'ipv6');
    }
    // 6to4 (RFC 3056 §2).
    const hex = Buffer.from(base.split('.').map(Number)).toString('hex');
    list.addSubnet(`2002:${hex.slice(0, 4)}:${hex.slice(4)}::`, 16 + bits, 'ipv6');
  }
  return list;
}
