import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { answer } from './loopback-gateway.ts';
import { metadataOf, ROGUE_CODE, redirectBack, startRogueServer, tokens } from './rogue-server.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

const PASSPHRASE = 'a passphrase: ü "quoted" $HOME';
const FIRST = 'first-access-token.0123456789-abcdef';
const SECOND = 'second-access-token.0123456789-abcdef';

/** A gateway and an authorization server that answer only who has a certificate of `authority`. */
async function setUp(authority: CertificateAuthority) {
  const server = await startRogueServer(({ origin }) => ({
    resource: (_, response) =>
      response.end(JSON.stringify({ resource: `${own()}/v1/mcp`, authorization_servers: [own()] })),
    metadata: (_, response) =>
      response.end(
        // The user's browser has no certificate.
        JSON.stringify(metadataOf(own(), { authorization_endpoint: `${origin}/authorize` })),
      ),
    authorize: (received, response) =>
      redirectBack(received, response, { code: ROGUE_CODE, iss: own() }),
    token: (received, response) => {
      const isRefresh = received.body.includes('refresh_token');
      tokens({ access_token: isRefresh ? SECOND : FIRST })(received, response);
    },
    mcp: (received, response) => {
      if (received.headers.authorization === `Bearer ${good.token}`) answer(received, response);
      else {
        const metadata = `resource_metadata="${own()}/.well-known/oauth-protected-resource"`;
        response.writeHead(401, { 'www-authenticate': `Bearer ${metadata}` }).end();
      }
      return true;
    },
  }));
  const good = { token: FIRST };
  const { key, cert } = authority.issue('IP:127.0.0.1');
  const { port } = new URL(server.url);
  const sockets = new Set<TLSSocket>();
  const options = { key, cert, ca: readFileSync(authority.certFile), requestCert: true };
  const tls = createServer(options, (socket) => {
    sockets.add(socket);
    const plain = connect(Number(port), '127.0.0.1');
    socket.on('error', () => plain.destroy()).pipe(plain);
    plain.on('error', () => socket.destroy()).pipe(socket);
  });
  await new Promise<void>((resolve) => tls.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    tls.close();
  });
  const own = () => `https://127.0.0.1:${(tls.address() as { port: number }).port}`;
  return { server, url: `${own()}/v1/mcp`, good };
}

it('signs in and refreshes with a client certificate whose key is encrypted, and keeps the passphrase to itself', async () => {
  const authority = new CertificateAuthority();
  onTestFinished(() => authority.remove());
  const watch = watchSecrets();
  watch.add(PASSPHRASE, FIRST, SECOND);
  const { server, url, good } = await setUp(authority);
  const [certFile, keyFile] = authority.issue('DNS:user.test').files as [string, string];
  const browser = await startBrowser(watch.folder, async (agent, link) => agent.open(link));
  const args = [
    ...['--ca', authority.certFile, '--cert', certFile],
    ...['--key-pem', authority.encrypt(keyFile, PASSPHRASE, 'pkcs8')],
    ...['--key-pem-passphrase-env', 'KEY_PASSPHRASE', '--sign-in-wait', '40'],
  ];
  const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
  const proxy = watch.proxy(url, args, { ...env, KEY_PASSPHRASE: PASSPHRASE });
  expect(await proxy.initialize()).toHaveProperty('result');
  expect(browser.opened).toHaveLength(1);

  good.token = SECOND;
  expect(await proxy.request(1, 'ping')).toHaveProperty('result');
  const grants = server.to('/token').map(({ body }) => new URLSearchParams(body).get('grant_type'));
  expect(grants).toEqual(['authorization_code', 'refresh_token']);
  expect(browser.opened).toHaveLength(1);
  expect(await proxy.end()).toBe(0);
});
