import { isLoopbackHost } from './loopback.ts';

/** The HTTP proxy that the environment names for a URL. */
export interface NamedProxy {
  /** Which variable names it. */
  readonly variable: string;
  /** As it is written there, with a scheme before it. It may be no URL. */
  readonly url: string;
  /** Why the URL's host is not for the proxy; undefined when it is. */
  readonly exemption: 'this machine' | 'NO_PROXY' | undefined;
}

// Not imported: the connection is begun before it is loaded.
const net = () => process.getBuiltinModule('node:net');

/**
 * By either case of `HTTPS_PROXY` or `HTTP_PROXY`, the lower case first, and where neither is set by
 * either case of `ALL_PROXY`; undefined without one, and where the variable is set to nothing. This
 * machine is never reached through a proxy, which would be another one's `localhost`, and would get
 * the key in the clear.
 */
export function namedProxy(target: URL, env: NodeJS.ProcessEnv): NamedProxy | undefined {
  const name = target.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const variable = [name, name.toUpperCase(), 'all_proxy', 'ALL_PROXY'].find(
    (known) => env[known] !== undefined,
  );
  if (variable === undefined) return undefined;
  const proxy = env[variable]?.trim();
  if (proxy === undefined || proxy === '') return undefined;
  const url = proxy.includes('://') ? proxy : `http://${proxy}`;
  const list = env.no_proxy ?? env.NO_PROXY ?? '';
  const isOwn = isLoopbackHost(target.hostname);
  const exemption = isOwn ? 'this machine' : isListed(target, list) ? 'NO_PROXY' : undefined;
  return { variable, url, exemption };
}

const PROXY_VARIABLE = /^(?:https?|all|no)_proxy$/i;

/** The variables of an environment that say which HTTP proxy is gone through, and when. */
export function proxyVariables(env: NodeJS.ProcessEnv): Record<string, string> {
  const named = Object.entries(env).filter(([name]) => PROXY_VARIABLE.test(name));
  return Object.fromEntries(named) as Record<string, string>;
}

/** The environment with these such variables in the place of its own. */
export function withProxyVariables(
  env: NodeJS.ProcessEnv,
  variables: Readonly<Record<string, string>>,
): NodeJS.ProcessEnv {
  const others = Object.entries(env).filter(([name]) => !PROXY_VARIABLE.test(name));
  return { ...Object.fromEntries(others), ...variables };
}

/** The proxy to go through; undefined to go straight. */
export function proxyFor(target: URL, env: NodeJS.ProcessEnv): string | undefined {
  const named = namedProxy(target, env);
  return named?.exemption === undefined ? named?.url : undefined;
}

/**
 * Whether a list of hosts has this one, as curl reads it: `example.com`, `.example.com` and
 * `*.example.com` all stand for the host and for those below it; a port may follow; `*` is all. An
 * address is in each notation of it, and in a range such as `10.0.0.0/8` (RFC 4632 §3.1).
 */
function isListed({ hostname, port, protocol }: URL, list: string): boolean {
  const host = withoutBrackets(hostname);
  const isAddress = net().isIP(host) !== 0;
  const hostPort = port || (protocol === 'https:' ? '443' : '80');
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    const [, name = '', onlyPort = hostPort] =
      /^(\[.+\]|[^:]+|.*:.*:.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    const suffix = withoutBrackets(name.replace(/^\*?\./, ''));
    if (suffix === '' || onlyPort !== hostPort) return false;
    if (isAddress) return isWithin(host, suffix);
    return host === suffix || host.endsWith(`.${suffix}`);
  });
}

/** Whether an address is another one, or in a range of addresses. */
function isWithin(address: string, range: string): boolean {
  const [, bracketed = '', length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(range) ?? [];
  const base = withoutBrackets(bracketed);
  const { BlockList, isIP, isIPv4 } = net();
  if (isIP(base) === 0) return false;
  const most = isIPv4(base) ? 32 : 128;
  const bits = Number(length ?? most);
  if (bits > most) return false;
  const list = new BlockList();
  list.addSubnet(base, bits, isIPv4(base) ? 'ipv4' : 'ipv6');
  return list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
}

/** Of an IPv6 address in a URL (RFC 3986 §3.2.2). */
export function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
