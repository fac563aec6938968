import { isFor } from './callback-server.ts';
import type { CallbackServer, ReceivedCallback } from './stored-sign-in.ts';

/**
 * `server`, which takes the redirect from what the user pastes as well, where the browser is on
 * another computer. `onOther` is told that a line was not the address of this sign-in.
 */
export function withPastedCallback(
  server: CallbackServer,
  lines: AsyncIterable<string>,
  onOther: () => void,
): CallbackServer {
  return {
    port: server.port,
    linkTo: (url, isOnce) => server.linkTo(url, isOnce),
    callback: (state, signal) =>
      Promise.race([server.callback(state, signal), pasted(state, lines, onOther)]),
    close: () => server.close(),
  };
}

/** Never resolves when the lines end before. */
async function pasted(
  state: string,
  lines: AsyncIterable<string>,
  onOther: () => void,
): Promise<ReceivedCallback> {
  for await (const line of lines) {
    if (line.trim() === '') continue;
    const [, query = ''] = /\?([^#\s]*)/.exec(line) ?? [];
    const parameters = new URLSearchParams(query);
    const ignored = async () => {};
    if (isFor({ state }, parameters)) return { parameters, succeed: ignored, fail: ignored };
    onOther();
  }
  return new Promise(() => {});
}
