import { isLoopbackHost } from '../auth/loopback.ts';

/** The HTTP proxy that the environment names for a URL. */
export interface NamedProxy {
  /** Which variable names it. */
  readonly variable: string;
  /** As it is written there, with a scheme before it. It may be no URL. */
  readonly url: string;
  /** Why the URL's host is not for the proxy; undefined when it is. */
  readonly exemption: 'this machine' | 'NO_PROXY' | undefined;
}

/**
 * By either case of `HTTPS_PROXY` and `HTTP_PROXY`, the lower case first; undefined without one. This
 * machine is never reached through a proxy, which would be another one's `localhost`, and would get
 * the key in the clear.
 */
export function namedProxy(target: URL, env: NodeJS.ProcessEnv): NamedProxy | undefined {
  const name = target.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const variable = env[name] === undefined ? name.toUpperCase() : name;
  const proxy = env[variable]?.trim();
  if (proxy === undefined || proxy === '') return undefined;
  const url = proxy.includes('://') ? proxy : `http://${proxy}`;
  const list = env.no_proxy ?? env.NO_PROXY ?? '';
  const isOwn = isLoopbackHost(target.hostname);
  const exemption = isOwn ? 'this machine' : isListed(target, list) ? 'NO_PROXY' : undefined;
  return { variable, url, exemption };
}

/** The proxy to go through; undefined to go straight. */
export function proxyFor(target: URL, env: NodeJS.ProcessEnv): string | undefined {
  const named = namedProxy(target, env);
  return named?.exemption === undefined ? named?.url : undefined;
}

/**
 * Whether a list of hosts has this one, as curl reads it: `example.com`, `.example.com` and
 * `*.example.com` all stand for the host and for those below it; a port may follow; `*` is all.
 */
function isListed({ hostname, port, protocol }: URL, list: string): boolean {
  const host = withoutBrackets(hostname);
  const isAddress = /^[\d.]+$|:/.test(host);
  const hostPort = port || (protocol === 'https:' ? '443' : '80');
  return list.split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    const [, name = '', onlyPort = hostPort] =
      /^(\[.+\]|[^:]+|.*:.*:.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
    const suffix = withoutBrackets(name.replace(/^\*?\./, ''));
    if (suffix === '' || onlyPort !== hostPort) return false;
    return host === suffix || (!isAddress && host.endsWith(`.${suffix}`));
  });
}

/** Of an IPv6 address in a URL (RFC 3986 §3.2.2). */
export function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
