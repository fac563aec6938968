import type { ServerResponse } from 'node:http';
import {
  answer,
  type LoopbackGateway,
  type Received,
  type Respond,
  sendJson,
  startGateway,
} from './loopback-gateway.ts';
import type { Json } from './running-proxy.ts';

/** Where the server can do what a test says in place of what it should. */
export interface Roguery {
  /** The protected resource metadata of the gateway. */
  resource?: Respond;
  metadata?: Respond;
  register?: Respond;
  authorize?: Respond;
  token?: Respond;
  /** Answers a message to the gateway in place of what takes ROGUE_TOKEN; false: with a 401. */
  mcp?: (received: Received, response: ServerResponse) => boolean;
}

export interface RogueServer extends LoopbackGateway {
  origin: string;
  /** Requests to a path, of those so far. */
  to(path: string): Received[];
  /** Parameters of the authorization requests and of the token requests so far. */
  parameters(): URLSearchParams[];
}

/** Those that a server has given out. They have what needs escaping in other notations. */
export const ROGUE_CODE = 'rogue-code/0123456789+abcdef';
export const ROGUE_TOKEN = 'rogue-access-token.0123456789-abcdef';
export const ROGUE_REFRESH = 'rogue-refresh-token.0123456789-abcdef';
export const ROGUE_SECRET = 'rogue-client-secret.0123456789-abcdef';

/**
 * A gateway and its authorization server on one origin: the least that a sign-in needs, without a
 * consent page, except where `roguery` says otherwise.
 */
export async function startRogueServer(
  roguery: (server: { origin: string }) => Roguery,
): Promise<RogueServer> {
  const place = { origin: '' };
  const own = () => roguery(place);
  const gateway = await startGateway((received, response) => {
    const [path = ''] = received.target.split('?');
    const route = routes[path];
    if (route !== undefined) return route(received, response);
    if (path !== '/v1/mcp') return void response.writeHead(404).end();
    const { mcp } = own();
    if (mcp === undefined && received.headers.authorization === `Bearer ${ROGUE_TOKEN}`) {
      return answer(received, response);
    }
    if (mcp?.(received, response)) return;
    const metadata = `${place.origin}/.well-known/oauth-protected-resource`;
    response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${metadata}"` }).end();
  });
  place.origin = new URL(gateway.url).origin;

  const routes: Record<string, Respond> = {
    '/.well-known/oauth-protected-resource': (received, response) =>
      own().resource
        ? own().resource?.(received, response)
        : sendJson(response, { resource: gateway.url, authorization_servers: [place.origin] }),
    '/.well-known/oauth-authorization-server': (received, response) =>
      own().metadata
        ? own().metadata?.(received, response)
        : sendJson(response, metadataOf(place.origin)),
    '/register': (received, response) =>
      own().register
        ? own().register?.(received, response)
        : sendJson(response, { client_id: 'rogue', client_secret: ROGUE_SECRET }),
    '/authorize': (received, response) =>
      own().authorize
        ? own().authorize?.(received, response)
        : redirectBack(received, response, { code: ROGUE_CODE, iss: place.origin }),
    '/token': (received, response) =>
      own().token ? own().token?.(received, response) : sendJson(response, TOKENS),
  };
  return {
    ...gateway,
    origin: place.origin,
    to: (path) => gateway.received.filter(({ target }) => target.split('?', 1)[0] === path),
    parameters: () =>
      gateway.received
        .filter(({ target }) => /^\/(authorize|token)\b/.test(target))
        .map(({ target, body }) => new URLSearchParams(body || target.split('?')[1])),
  };
}

const TOKENS = {
  access_token: ROGUE_TOKEN,
  refresh_token: ROGUE_REFRESH,
  token_type: 'Bearer',
  expires_in: 3600,
};

/** Answers of the token endpoint as it should be, but for `changes`. */
export const tokens =
  (changes: Json): Respond =>
  (_, response) =>
    sendJson(response, { ...TOKENS, ...changes });

/** Metadata as it should be, but for `changes`. */
export function metadataOf(origin: string, changes: Json = {}): Json {
  return {
    issuer: origin,
    authorization_endpoint: `${origin}/authorize`,
    token_endpoint: `${origin}/token`,
    registration_endpoint: `${origin}/register`,
    code_challenge_methods_supported: ['S256'],
    authorization_response_iss_parameter_supported: true,
    token_endpoint_auth_methods_supported: ['client_secret_post'],
    ...changes,
  };
}

/** The redirect of an authorization request, with its state. */
export function redirectBack(
  { target }: Received,
  response: ServerResponse,
  parameters: Record<string, string>,
): void {
  const query = new URLSearchParams(target.split('?')[1]);
  const location = new URL(query.get('redirect_uri') ?? '');
  const all = { state: query.get('state') ?? '', ...parameters };
  for (const [name, value] of Object.entries(all)) location.searchParams.set(name, value);
  response.writeHead(302, { location: location.href }).end();
}
