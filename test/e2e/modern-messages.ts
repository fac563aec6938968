import { MODERN, reserved } from './modern-gateway.ts';
import type { Json, RunningProxy } from './running-proxy.ts';

export const CLIENT = { name: 'new', version: '3.2.1' };
export const CAPABILITIES = { elicitation: { form: {}, url: {} }, roots: {}, sampling: {} };

/** The params of a request of 2026-07-28; `meta` adds to its `_meta` or changes it. */
export function modern(params: Json = {}, meta: Json = {}): Json {
  const _meta = {
    [reserved('protocolVersion')]: MODERN,
    [reserved('clientInfo')]: CLIENT,
    [reserved('clientCapabilities')]: CAPABILITIES,
    ...meta,
  };
  return { ...params, _meta };
}

/** The `count`-th notification of this method that the proxy passed on. */
export async function notified(proxy: RunningProxy, method: string, count = 1): Promise<Json> {
  const all = () => proxy.messages.filter((message) => message.method === method);
  await proxy.until(() => all().length >= count);
  return all()[count - 1] as Json;
}

/** What a tool of the fixtures sent back. */
export function said(reply: Json): Json {
  if (!reply.result) throw new Error(JSON.stringify(reply));
  const { content } = reply.result as { content?: { text: string }[] };
  if (!content) throw new Error(JSON.stringify(reply));
  return JSON.parse(content[0]?.text ?? '');
}

/** A result that asks for input. */
export interface InputRequired {
  inputRequests: Record<string, { method: string; params?: Json }>;
  requestState: string;
}

export function inputRequired({ result, error }: Json): InputRequired {
  const { resultType } = (result ?? {}) as Json;
  if (resultType !== 'input_required') throw new Error(JSON.stringify(result ?? error));
  return result as unknown as InputRequired;
}
