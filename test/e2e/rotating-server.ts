import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { answer, type Received, sendJson } from './loopback-gateway.ts';
import { metadataOf, type RogueServer, redirectBack, startRogueServer } from './rogue-server.ts';

/**
 * A gateway and an authorization server that rotates refresh tokens, and ends the sign-in when one
 * comes a second time (RFC 9700 §4.14.2). Nothing is good there but the newest access token.
 */
export interface RotatingServer extends RogueServer {
  /** Redeemed codes, refreshes, and those that ended a sign-in. */
  readonly seen: { signIns: number; refreshes: number; losses: number };
  /** Every token and code that it has given out. */
  readonly secrets: string[];
  /** Has the gateway reject the access token. */
  expire(): void;
  /** Is called when a refresh has come, before it is looked at; false: it never is. */
  onRefresh: (() => void | false | Promise<void>) | undefined;
  /** Is called when a refresh was granted, before the answer is sent. */
  onRefreshed: (() => void | Promise<void>) | undefined;
}

export async function startRotatingServer(): Promise<RotatingServer> {
  const seen = { signIns: 0, refreshes: 0, losses: 0 };
  const secrets: string[] = [];
  let code = '';
  let access: string | undefined;
  let refresh = '';
  const make = (kind: string) => {
    const made = `${kind}-${randomBytes(12).toString('hex')}`;
    secrets.push(made);
    return made;
  };
  const grant = (response: ServerResponse) => {
    [access, refresh] = [make('access'), make('refresh')];
    const tokens = { access_token: access, refresh_token: refresh, token_type: 'Bearer' };
    return () => sendJson(response, { ...tokens, expires_in: 3600 });
  };
  const deny = (response: ServerResponse) => {
    response.writeHead(400, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: 'invalid_grant' }));
  };
  const token = async ({ body }: Received, response: ServerResponse) => {
    const form = new URLSearchParams(body);
    if (form.get('grant_type') === 'authorization_code') {
      if (form.get('code') !== code) return deny(response);
      seen.signIns++;
      return grant(response)();
    }
    if ((await server.onRefresh?.()) === false) return void response.destroy();
    if (form.get('refresh_token') !== refresh) {
      seen.losses++;
      [access, refresh] = [undefined, ''];
      return deny(response);
    }
    seen.refreshes++;
    const send = grant(response);
    await server.onRefreshed?.();
    return send();
  };
  const rogue = await startRogueServer(({ origin }) => ({
    metadata: (_, response) => sendJson(response, metadataOf(origin)),
    authorize: (received, response) => {
      code = make('code');
      redirectBack(received, response, { code, iss: origin });
    },
    token: (received, response) => void token(received, response),
    mcp: (received, response) => {
      if (access === undefined || received.headers.authorization !== `Bearer ${access}`)
        return false;
      answer(received, response);
      return true;
    },
  }));
  const server: RotatingServer = {
    ...rogue,
    ...{ seen, secrets, onRefresh: undefined, onRefreshed: undefined },
    expire: () => {
      access = undefined;
    },
  };
  return server;
}
