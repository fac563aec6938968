import { isLoopbackHost } from '../../http/loopback.ts';
import type { DoctorRun } from '../doctor-run.ts';
import type { Finding } from '../finding.ts';

/** What can be told from the URL alone. */
export async function checkUrl({ settings }: DoctorRun): Promise<Finding> {
  const { protocol, hostname, pathname, searchParams } = settings.url;
  const parameters = [...new Set(searchParams.keys())];
  const isReadable = protocol === 'http:' && !isLoopbackHost(hostname);
  const parts = [
    protocol === 'https:' ? 'https' : `http${isReadable ? '' : ' (this computer)'}`,
    pathname === '/' ? 'no path' : `path ${pathname}`,
    // Without the values: there may be secrets among them.
    ...(parameters.length === 0 ? [] : [`with ${parameters.join(', ')}`]),
  ];
  const notes = [
    ...(isReadable ? ['the key is sent unencrypted (--allow-http)'] : []),
    ...(pathname === '/' ? ['the endpoint is usually at /v1/mcp'] : []),
  ];
  return {
    check: 'url',
    name: 'url',
    status: notes.length === 0 ? 'ok' : 'warn',
    line: [parts.join(', '), ...notes].join('; '),
    details: { scheme: protocol.slice(0, -1), path: pathname, parameters },
  };
}
