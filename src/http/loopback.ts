import { isIPv4 } from 'node:net';

/**
 * Whether a host name, as `URL.hostname` gives it, means this computer: `localhost` and names below
 * it (RFC 6761 §6.3), 127.0.0.0/8 and `[::1]`. Looks nothing up.
 */
export function isLoopbackHost(hostname: string): boolean {
  return (
    /^(?:.+\.)?localhost\.?$/i.test(hostname) ||
    hostname === '[::1]' ||
    hostname === '::1' ||
    (hostname.startsWith('127.') && isIPv4(hostname))
  );
}
