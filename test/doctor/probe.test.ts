import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createServer as createTlsServer } from 'node:tls';
import { expect, it, onTestFinished } from 'vitest';
import { openEach, probeRoute } from '../../src/doctor/probe.ts';
import { CertificateAuthority } from '../e2e/certificates.ts';

const probe = (url: string, limitMs = 1_000) =>
  probeRoute(new URL(url), limitMs, () => performance.now());

async function listen(host: string, server: Server = createServer()): Promise<number> {
  server.listen(0, host);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

const hasIPv6 = Object.values(networkInterfaces()).some((list) =>
  list?.some(({ address }) => address === '::1'),
);

it('connects by IPv4', async () => {
  const port = await listen('127.0.0.1');
  const { addresses, reached, steps, tls } = await probe(`http://127.0.0.1:${port}/`);
  expect(addresses).toEqual(['127.0.0.1']);
  expect(reached).toEqual([{ address: '127.0.0.1', family: 4, connectMs: expect.any(Number) }]);
  expect(steps.map(({ label }) => label)).toEqual(['TCP, IPv4']);
  expect(tls).toBeUndefined();
});

it.skipIf(!hasIPv6)('connects by IPv6', async () => {
  const port = await listen('::1');
  const { reached } = await probe(`http://[::1]:${port}/`);
  expect(reached).toEqual([{ address: '::1', family: 6, connectMs: expect.any(Number) }]);
});

it('says why there is no connection', async () => {
  const server = createServer();
  const port = await listen('127.0.0.1', server);
  server.close();
  await once(server, 'close');
  const { reached } = await probe(`https://127.0.0.1:${port}/`);
  expect(reached).toEqual([{ address: '127.0.0.1', family: 4, code: 'ECONNREFUSED' }]);
});

it('says why there is no address', async () => {
  const { addresses, lookupCode, reached } = await probe('https://no-such-host.invalid/');
  expect({ addresses, reached }).toEqual({ addresses: [], reached: [] });
  expect(lookupCode).toMatch(/^(?:ENOTFOUND|EAI_AGAIN)$/);
});

it('looks the name up, connects and shakes hands without a limit when that is 0', async () => {
  const authority = new CertificateAuthority();
  onTestFinished(() => authority.remove());
  const { key, cert } = authority.issue('DNS:localhost');
  const port = await listen('127.0.0.1', createTlsServer({ key, cert }));
  const { addresses, lookupCode, reached, tls } = await probe(`https://localhost:${port}/`, 0);
  expect(lookupCode).toBeUndefined();
  expect(addresses).toContain('127.0.0.1');
  expect(reached).toContainEqual({
    address: '127.0.0.1',
    family: 4,
    connectMs: expect.any(Number),
  });
  expect(tls).toMatchObject({ protocol: 'TLSv1.3', certificate: { subject: expect.anything() } });
});

it('gives up a handshake that is not answered', async () => {
  const port = await listen(
    '127.0.0.1',
    createServer(() => {}),
  );
  const { tls } = await probe(`https://127.0.0.1:${port}/`, 100);
  expect(tls).toMatchObject({ code: 'ETIMEDOUT' });
});

// Of 127.0.0.0/8, other systems have the first address only.
it.skipIf(process.platform !== 'linux')(
  'gives up an address that does not answer soon after another did',
  async () => {
    const port = await listen('127.0.0.1');
    const script = `require('node:net').createServer().listen({ port: ${port}, host: '127.0.0.2', backlog: 1 }, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', script]);
    onTestFinished(() => void child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    child.kill('SIGSTOP');
    // Its queue is full with these, so that the next one gets no answer.
    const queued = [1, 2, 3].map(() => connect(port, '127.0.0.2').on('error', () => {}));
    onTestFinished(() => queued.forEach((socket) => void socket.destroy()));
    await Promise.all(queued.slice(0, 2).map((socket) => once(socket, 'connect')));
    const start = performance.now();
    const addresses = ['127.0.0.1', '127.0.0.2'];
    const [near, far] = await openEach(addresses, port, 10_000, () => performance.now());
    expect(near?.outcome).not.toBeTypeOf('string');
    expect(far?.outcome).toBe('ETIMEDOUT');
    expect(performance.now() - start).toBeLessThan(5_000);
    if (typeof near?.outcome === 'object') near.outcome.destroy();
  },
);
