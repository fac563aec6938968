import { expect, it } from 'vitest';
import { namedProxy, proxyFor, withProxyVariables } from '../../src/http/environment-proxy.ts';
import { Routes } from '../../src/http/routes.ts';

const GATEWAY = new URL('https://mcp.corp.example/v1/mcp');
const PROXY = 'http://proxy:3128';

it.each([
  ['https://a', { HTTPS_PROXY: PROXY }, PROXY, 'HTTPS_PROXY'],
  ['http://a', { HTTPS_PROXY: PROXY }, undefined, undefined],
  ['http://a', { HTTP_PROXY: 'proxy:3128' }, PROXY, 'HTTP_PROXY'],
  ['http://a', { HTTP_PROXY: 'http://other', http_proxy: ` ${PROXY} ` }, PROXY, 'http_proxy'],
  ['https://a', { HTTPS_PROXY: PROXY, https_proxy: '' }, undefined, undefined],
  ['https://a', { ALL_PROXY: PROXY }, PROXY, 'ALL_PROXY'],
  ['http://a', { all_proxy: 'proxy:3128', ALL_PROXY: 'http://other' }, PROXY, 'all_proxy'],
  ['http://a', { HTTP_PROXY: PROXY, all_proxy: 'http://other' }, PROXY, 'HTTP_PROXY'],
  ['https://a', { https_proxy: PROXY, ALL_PROXY: 'http://other' }, PROXY, 'https_proxy'],
  ['https://a', { HTTP_PROXY: 'http://other', ALL_PROXY: PROXY }, PROXY, 'ALL_PROXY'],
  ['https://a', { HTTPS_PROXY: '', ALL_PROXY: PROXY }, undefined, undefined],
  ['https://a', { ALL_PROXY: ' ' }, undefined, undefined],
])('for %s and %o it is %s, by %s', (url, env, proxy, variable) => {
  expect(proxyFor(new URL(url), env)).toBe(proxy);
  expect(namedProxy(new URL(url), env)?.variable).toBe(variable);
});

it.each([
  '*',
  'mcp.corp.example',
  'MCP.Corp.Example',
  'corp.example',
  '.corp.example',
  '*.corp.example',
  'other.example, corp.example:443',
  'other.example corp.example',
])('is none for a host that NO_PROXY names as %s', (list) => {
  expect(proxyFor(GATEWAY, { HTTPS_PROXY: PROXY, NO_PROXY: list })).toBeUndefined();
  expect(proxyFor(GATEWAY, { HTTPS_PROXY: PROXY, no_proxy: list })).toBeUndefined();
  expect(namedProxy(GATEWAY, { HTTPS_PROXY: PROXY, NO_PROXY: list })?.exemption).toBe('NO_PROXY');
});

it.each([
  '',
  ' , ',
  'example.org',
  'cp.corp.example',
  'orp.example',
  'a.mcp.corp.example',
  'corp.example:8443',
  'corp.example:',
  'mcp.corp.example.',
  '.',
  '*.',
  ':443',
])('is the one that is named where NO_PROXY is "%s"', (list) => {
  expect(proxyFor(GATEWAY, { HTTPS_PROXY: PROXY, NO_PROXY: list })).toBe(PROXY);
});

it.each([
  ['http://[fd00::1]:8080/', 'fd00::1', true],
  ['http://[fd00::1]:8080/', '[fd00::1]', true],
  ['http://[fd00::1]:8080/', '[fd00::1]:8080', true],
  ['http://[fd00::1]:8080/', '[fd00::1]:80', false],
  ['http://[fd00::1]:8080/', 'fd00::2', false],
  ['http://10.1.2.3/', '10.1.2.3:80', true],
  ['http://10.1.2.3/', '2.3', false],
  ['http://10.1.2.3/', '10.0.0.0/8', true],
  ['http://10.1.2.3/', 'example.com, 10.0.0.0/8', true],
  ['http://10.1.2.3/', '10.1.2.0/23', true],
  ['http://10.1.2.3/', '10.1.2.3/32', true],
  ['http://10.1.2.3/', '0.0.0.0/0', true],
  ['http://10.1.2.3/', '10.1.2.4/31', false],
  ['http://11.1.2.3/', '10.0.0.0/8', false],
  ['http://10.1.2.3:8080/', '10.0.0.0/8:8080', true],
  ['http://10.1.2.3/', '10.0.0.0/8:8080', false],
  ['http://10.1.2.3/', '10.0.0.0/33', false],
  ['http://10.1.2.3/', '10.0.0.0/', false],
  ['http://10.1.2.3/', '10.0.0.0/x', false],
  ['http://10.1.2.3/', '/8', false],
  ['http://10.1.2.3/', 'fd00::/8', false],
  ['http://10.1.2.3/', '::ffff:10.1.2.3', true],
  ['http://a.example/', '0.0.0.0/0', false],
  ['http://[fd00::1]:8080/', 'FD00:0:0::0001', true],
  ['http://[fd00::1]:8080/', 'fd00:0:0:0:0:0:0:1', true],
  ['http://[fd00::1]:8080/', '[fd00:0::1]:8080', true],
  ['http://[fd00::1]:8080/', 'fd00::/8', true],
  ['http://[fd00::1]:8080/', '[fd00::]/8', true],
  ['http://[fe00::1]:8080/', 'fd00::/8', false],
  ['http://[fd00::1]:8080/', 'fd00::/129', false],
  ['http://[::ffff:10.1.2.3]/', '10.0.0.0/8', true],
  ['http://[::ffff:10.1.2.3]/', '11.0.0.0/8', false],
])('at %s is passed by, NO_PROXY being %s: %s', (url, list, isExempt) => {
  const named = namedProxy(new URL(url), { HTTP_PROXY: PROXY, NO_PROXY: list });
  expect(named?.exemption === 'NO_PROXY').toBe(isExempt);
});

it.each(['localhost', 'a.localhost', '127.0.0.1', '127.1.2.3', '[::1]'])(
  'is not used for %s, which is this computer',
  (host) => {
    const env = { HTTP_PROXY: PROXY, HTTPS_PROXY: PROXY };
    expect(proxyFor(new URL(`http://${host}:8080/`), env)).toBeUndefined();
    expect(namedProxy(new URL(`https://${host}/`), env)?.exemption).toBe('this machine');
  },
);

it('is handed to another process as it was set, and not as that process finds it', () => {
  const url = new URL('https://gateway.example/');
  const env = { https_proxy: 'http://policy.example:1', no_proxy: 'a.example', PATH: '/bin' };
  const options = { connectTimeoutMs: 1, warnOf: () => () => {}, env };
  const { proxyVariables } = new Routes(options).facts;
  expect(proxyVariables).toEqual({ https_proxy: env.https_proxy, no_proxy: env.no_proxy });
  const there = withProxyVariables(
    { HTTPS_PROXY: '', NO_PROXY: '*', HOME: '/home' },
    proxyVariables,
  );
  expect(there).toEqual({ ...proxyVariables, HOME: '/home' });
  expect(proxyFor(url, there)).toBe('http://policy.example:1');
  expect(withProxyVariables({ all_proxy: 'http://own.example' }, {})).toEqual({});
});
