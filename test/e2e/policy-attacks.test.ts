import {
  chownSync,
  cpSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { answer, type Respond, sendEvents, startGateway } from './loopback-gateway.ts';
import { computerWith, hasOwnEtc, hasOwnPolicy } from './policy-of-computer.ts';
import { startProxy } from './running-proxy.ts';

const POLICY = {
  filters: {
    'deny-tool': ['delete_*'],
    deny: ['prompt:secret_*', 'resource:file:///etc/*'],
  },
  contact: 'it@example.com',
};
const BLOCKED = { error: { code: -32002, data: { reason: 'tool_not_allowed' } } };
const UNUSABLE = {
  error: {
    code: -32005,
    message: expect.stringContaining('the policy of your organization cannot be used'),
  },
};

/** A session under the policy, and what reached the gateway of what it blocks. */
async function underPolicy(respond: Respond = answer, change: (folder: string) => void = () => {}) {
  const gateway = await startGateway(respond);
  const { folder, wrapper } = computerWith(POLICY);
  change(folder);
  const proxy = startProxy(gateway.url, { wrapper });
  const opened = await proxy.initialize('2025-11-25');
  const blocked = () =>
    gateway.received.filter(({ body }) => /delete_|secret_|file:\/\/\/etc/i.test(body));
  return { gateway, folder, proxy, opened, blocked };
}

describe.skipIf(!hasOwnPolicy)('a gateway', () => {
  it('cannot change what is blocked with a cookie, whether it redirects or not', async () => {
    const cookies = [
      'mcp-latchkey-policy=none; Path=/',
      'filters=off; Path=/; HttpOnly',
      'MCP_LATCHKEY_DENY_TOOL=; Path=/v1/mcp',
      'Host=allowed.example; Domain=127.0.0.1',
    ];
    const { proxy, blocked, gateway } = await underPolicy((received, response) => {
      response.setHeader('Set-Cookie', cookies);
      if (received.target === '/moved') answer(received, response);
      else response.writeHead(307, { Location: '/moved' }).end();
    });
    expect(await proxy.request(1, 'tools/call', { name: 'get' })).toHaveProperty('result');
    expect(await proxy.request(2, 'tools/call', { name: 'delete_all' })).toMatchObject(BLOCKED);
    expect(await proxy.request(3, 'tools/call', { name: 'get' })).toHaveProperty('result');
    expect(blocked()).toEqual([]);
    for (const { headers } of gateway.received) expect(headers.host).toMatch(/^127\.0\.0\.1:/);
  });

  it('gets the answers to what it asks the client for in a call, and they open nothing', async () => {
    const asked = [
      { id: 'e', method: 'elicitation/create', params: { message: 'Call delete_all?' } },
      { id: 's', method: 'sampling/createMessage', params: { tools: [{ name: 'delete_all' }] } },
    ].map((request) => ({ jsonrpc: '2.0', ...request }));
    const { proxy, gateway, blocked } = await underPolicy((received, response) => {
      const { id, method } = received.message;
      if (method !== 'tools/call') return answer(received, response);
      sendEvents(response, ...asked);
      void (async () => {
        for (const { id } of asked) await gateway.request(({ message }) => message.id === id);
        response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: {} })}\n\n`);
      })();
    });
    const called = proxy.request(1, 'tools/call', { name: 'get' });
    for (const request of asked) {
      expect(await proxy.message(({ id }) => id === request.id)).toEqual(request);
    }
    expect(await proxy.request(2, 'tools/call', { name: 'delete_all' })).toMatchObject(BLOCKED);
    proxy.send({ jsonrpc: '2.0', id: 'e', result: { action: 'accept', content: {} } });
    proxy.send({ jsonrpc: '2.0', id: 's', result: { role: 'assistant', content: [] } });
    expect(await called).toHaveProperty('result');
    expect(blocked()).toEqual([]);
  });
});

describe.skipIf(!hasOwnPolicy)('a task of MCP 2025-11-25', () => {
  it('does not run a tool that is blocked', async () => {
    const { proxy, blocked } = await underPolicy();
    for (const [id, params] of [
      { name: 'delete_all', task: {} },
      { task: { ttl: 60_000, name: 'get' }, name: 'delete_all' },
      { name: 'get', task: {}, Name: 'delete_all' },
    ].entries()) {
      expect(await proxy.request(id, 'tools/call', params)).toMatchObject(BLOCKED);
    }
    expect(blocked()).toEqual([]);
  });

  it('runs a tool that is not blocked, to its result', async () => {
    const task = { taskId: 't1', status: 'working' };
    const { proxy } = await underPolicy((received, response) => {
      const { method } = received.message;
      const results = {
        'tools/call': { task },
        'tasks/get': task,
        'tasks/result': { content: [] },
      };
      answer(received, response, results[method as keyof typeof results]);
    });
    const call = { name: 'get', task: {} };
    expect(await proxy.request(1, 'tools/call', call)).toMatchObject({ result: { task } });
    expect(await proxy.request(2, 'tasks/get', { taskId: 't1' })).toMatchObject({ result: task });
    expect(await proxy.request(3, 'tasks/result', { taskId: 't1' })).toMatchObject({
      result: { content: [] },
    });
  });

  it.each([['tools/list'], ['prompts/list'], ['resources/list'], ['resources/templates/list']])(
    'does not bring what %s is filtered of',
    async (method) => {
      const { proxy, gateway } = await underPolicy();
      for (const [id, params] of [{ task: {} }, { Task: {} }].entries()) {
        expect(await proxy.request(id, method, params)).toMatchObject(BLOCKED);
      }
      expect(gateway.received.filter(({ message }) => message.method === method)).toEqual([]);
    },
  );
});

describe.skipIf(!hasOwnPolicy)('what is blocked', () => {
  it('cannot be completed, as a prompt, a resource or a template', async () => {
    const { proxy, blocked } = await underPolicy();
    const argument = { name: 'name', value: '' };
    for (const [id, ref] of [
      { type: 'ref/prompt', name: 'secret_plan' },
      { type: 'ref/prompt', name: 'greet', title: 'x', uri: 'file:///etc/shadow' },
      { type: 'ref/resource', uri: 'file:///etc/{name}' },
      { type: 'ref/resource', uri: 'file:///srv/%2e%2e/etc/{name}' },
      { type: 'ref/other', name: 'SECRET_plan' },
    ].entries()) {
      const reply = await proxy.request(id, 'completion/complete', { ref, argument });
      expect(reply).toMatchObject(BLOCKED);
    }
    expect(blocked()).toEqual([]);
  });

  it('is not in a list of templates, and cannot be read by what a template makes', async () => {
    const templates = ['file:///etc/{name}', 'file:///srv/{name}', 'file:///{+path}'];
    const { proxy, blocked } = await underPolicy((received, response) => {
      if (received.message.method !== 'resources/templates/list') answer(received, response);
      else
        answer(received, response, {
          resourceTemplates: templates.map((uriTemplate) => ({ uriTemplate })),
        });
    });
    const listed = await proxy.request(1, 'resources/templates/list');
    expect(listed).toMatchObject({
      result: { resourceTemplates: templates.slice(1).map((uriTemplate) => ({ uriTemplate })) },
    });
    for (const [id, uri] of [
      'file:///etc/shadow',
      'file:///srv/../etc/shadow',
      'file:///srv/..%2fetc/shadow',
      'file:////etc/shadow',
      'file:///etc//shadow',
      'file:///srv//../etc/shadow',
      'file://localhost/etc/shadow',
      'file:/etc/shadow',
    ].entries()) {
      expect(await proxy.request(`r${id}`, 'resources/read', { uri })).toMatchObject(BLOCKED);
    }
    expect(blocked()).toEqual([]);
  });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-attack-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A copy of the policy's folder in one that a user owns. */
function usersCopy(folder: string): string {
  const home = newFolder();
  cpSync(folder, join(home, 'mcp-latchkey'), { recursive: true });
  chownSync(home, 1000, 1000);
  return join(home, 'mcp-latchkey');
}

describe.skipIf(!hasOwnEtc)("the policy's folder", () => {
  it.each<[string, (folder: string) => void]>([
    ['removed', (folder) => rmSync(folder, { recursive: true })],
    ['moved', (folder) => renameSync(folder, `${folder}.old`)],
    ['given another file', (folder) => writeFileSync(join(folder, 'policy.json'), '{}')],
    [
      'replaced by a link to a folder of the user',
      (folder) => {
        const copy = usersCopy(folder);
        writeFileSync(join(copy, 'policy.json'), '{}');
        rmSync(folder, { recursive: true });
        symlinkSync(copy, folder);
      },
    ],
  ])('can be %s while a session runs, which goes on as it began', async (_, change) => {
    const { proxy, folder, blocked } = await underPolicy();
    change(folder);
    expect(await proxy.request(1, 'tools/call', { name: 'delete_all' })).toMatchObject(BLOCKED);
    await proxy.initialize('2025-11-25');
    expect(await proxy.request(2, 'tools/call', { name: 'delete_all' })).toMatchObject(BLOCKED);
    expect(blocked()).toEqual([]);
  });

  it.each<[string, (folder: string) => void]>([
    ['the user owns it', (folder) => chownSync(folder, 1000, 1000)],
    ['the user owns the folder above', (folder) => chownSync(join(folder, '..'), 1000, 1000)],
    [
      'it is a link to a folder of the user',
      (folder) => {
        const copy = usersCopy(folder);
        chownSync(copy, 1000, 1000);
        rmSync(folder, { recursive: true });
        symlinkSync(copy, folder);
      },
    ],
    [
      "it is a link to a folder of root's in one of the user",
      (folder) => {
        const copy = usersCopy(folder);
        rmSync(folder, { recursive: true });
        symlinkSync(copy, folder);
      },
    ],
    [
      "its file is a link to a file of root's in a folder of the user",
      (folder) => {
        const copy = usersCopy(folder);
        rmSync(join(folder, 'policy.json'));
        symlinkSync(join(copy, 'policy.json'), join(folder, 'policy.json'));
      },
    ],
    [
      'it is a file',
      (folder) => {
        rmSync(folder, { recursive: true });
        writeFileSync(folder, '{}');
      },
    ],
    [
      'it is a link to itself',
      (folder) => {
        rmSync(folder, { recursive: true });
        symlinkSync(folder, folder);
      },
    ],
  ])('stops the proxy if %s', async (_, change) => {
    const { opened, gateway } = await underPolicy(answer, change);
    expect(opened).toMatchObject(UNUSABLE);
    expect(gateway.received).toEqual([]);
  });
});
