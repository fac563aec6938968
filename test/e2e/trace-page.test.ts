import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { chromium, type OpenedPage, openInChromium } from './chromium.ts';
import { answer, sendJson, startGateway } from './loopback-gateway.ts';
import { runToEnd, startProxy } from './running-proxy.ts';
import { watchSecrets } from './secret-watch.ts';
import { startBrowser } from './test-browser.ts';

/** Where pictures of the page are kept, to be looked at: not by default. */
const PICTURES = process.env.TRACE_PICTURES;

/** Resolves when what was changed has been drawn. */
const FRAME =
  'new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))';

const HOSTILE = '</script><script>document.title="run"</script><img src=x onerror=alert(1)>';

describe.skipIf(chromium === undefined)(
  `the page of a trace in Chromium${chromium === undefined ? ' (skipped: Chromium is not here)' : ''}`,
  () => {
    let folder: string;
    let trace: string;
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'latchkey-trace-'));
      trace = join(folder, 'session.jsonl');
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    const html = async (file: string, ...words: string[]) => {
      const page = `${file}.html`;
      const { code } = await runToEnd(['trace', file, '--html', page, ...words]);
      expect(code).toBe(0);
      return page;
    };
    const details = (page: OpenedPage) =>
      page.evaluate(`document.querySelector('#details').textContent`) as Promise<string>;
    const count = (page: OpenedPage) =>
      page.evaluate(`document.querySelector('#count').textContent`);
    const frame = (page: OpenedPage) => page.evaluate('void 0');

    /** With a retry, a lost session, a cancellation, a failure, and hostile text. */
    const record = async () => {
      let lists = 0;
      let sessions = 0;
      const gateway = await startGateway((received, response) => {
        const { method, id } = received.message;
        const session = received.headers['mcp-session-id'];
        if (method === 'initialize') response.setHeader('mcp-session-id', `session-${++sessions}`);
        if (method === 'tools/list' && ++lists === 1) response.writeHead(503).end();
        else if (id === 3 && session === 'session-1') response.writeHead(404).end();
        else if (id === 5) {
          const error = { code: -32000, message: HOSTILE, data: { html: HOSTILE } };
          sendJson(response, { jsonrpc: '2.0', id, error });
        } else if (id !== 4) answer(received, response);
      });
      const proxy = startProxy(gateway.url, { args: ['--trace', trace] });
      await proxy.initialize();
      await proxy.request(2, 'tools/list');
      await proxy.request(3, 'tools/call', { name: 'search' });
      proxy.send({ jsonrpc: '2.0', id: 4, method: 'tools/call', params: { name: 'slow' } });
      await gateway.request(({ message }) => message.id === 4);
      proxy.notify('notifications/cancelled', { requestId: 4 });
      await proxy.request(5, 'tools/call', { name: HOSTILE });
      await proxy.end();
    };

    it.each([
      ['light', 1200],
      ['dark', 1200],
      ['light', 420],
    ] as const)('shows a session, %s and %i wide, by keyboard alone', async (scheme, width) => {
      rmSync(trace, { force: true });
      await record();
      const file = await html(trace);
      const page = await openInChromium(file, scheme, { scripts: true, width });
      expect(page.requests.filter((own) => own !== 'data:,')).toEqual([pathToFileURL(file).href]);
      expect(await page.evaluate('document.title')).toBe('mcp-latchkey trace');
      expect(await page.evaluate(`document.querySelectorAll('img, script').length`)).toBe(3);
      expect(await page.evaluate('document.documentElement.scrollWidth > innerWidth')).toBe(false);
      expect(await page.evaluate('document.activeElement.id')).toBe('list');

      const all = await count(page);
      expect(await details(page)).toContain('"type": "run"');
      await page.press('ArrowDown');
      expect(await details(page)).toContain('"n": 2');
      await page.press('/');
      expect(await page.evaluate('document.activeElement.id')).toBe('search');
      for (const key of 'id 5') await page.press(key);
      expect(await count(page)).not.toBe(all);
      await page.press('Escape');
      expect(await page.evaluate('document.activeElement.id')).toBe('list');
      await page.press('Home');
      expect(await details(page)).toContain('"to": "proxy"');
      expect(await details(page)).toContain(JSON.stringify(HOSTILE));
      await page.press('r');
      expect(await details(page)).toContain('"to": "client"');
      expect(await details(page)).toContain('"code": -32000');
      for (const key of ['+', '+', '-', '0', 'Enter']) await page.press(key);
      expect(await page.evaluate('document.activeElement.id')).toBe('details');
      await page.evaluate(`search.value = ''; search.dispatchEvent(new Event('input'))`);
      await page.evaluate('failures.click(); list.scrollTop = 0');
      await page.evaluate(FRAME);
      const failed = (await page.evaluate('document.querySelector("#rows").textContent')) as string;
      expect(failed).toContain('HTTP 503 for POST tools/list');
      expect(failed).toContain('HTTP 404 for POST tools/call search');
      expect(failed).not.toContain('tools/call slow');
      await page.evaluate('failures.click()');
      expect(await count(page)).toBe(all);
      const isDrawn = `(() => { const { width, height } = timeline;
        const pixels = timeline.getContext('2d').getImageData(0, 0, width, height).data;
        return pixels.some((value) => value > 0); })()`;
      await frame(page);
      expect(await page.evaluate(isDrawn)).toBe(true);
      if (PICTURES !== undefined) {
        await page.evaluate('list.focus()');
        await page.screenshot(join(PICTURES, `trace-${scheme}-${width}.png`));
      }
      expect(page.console).toEqual([]);
    });

    it('shows a session with a sign-in: the refusal, and what was sent again', async () => {
      const watch = watchSecrets();
      const sandbox = await startSandbox({ oauth: {} });
      onTestFinished(() => sandbox.close());
      watch.follow(sandbox.oauth as AuthorizationServer);
      const browser = await startBrowser(watch.folder);
      const env = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
      const own = join(watch.folder, 'sign-in.jsonl');
      const proxy = watch.proxy(sandbox.url, ['--trace', own], env);
      await proxy.initialize();
      await proxy.request(1, 'tools/list');
      await proxy.end();
      expect(browser.opened).toHaveLength(1);
      // The page is in the folder that is searched for secrets.
      const file = await html(own);
      const page = await openInChromium(file, 'light', { scripts: true, width: 1200 });
      await page.evaluate(FRAME);
      const rows = (await page.evaluate('document.querySelector("#rows").textContent')) as string;
      expect(rows).toContain('HTTP 401 for POST initialize');
      expect(rows).toContain('HTTP 200 for POST initialize');
      expect(page.requests.filter((url) => url !== 'data:,')).toEqual([pathToFileURL(file).href]);
      expect(page.console).toEqual([]);
    });

    it('leaves out what messages say with --redact', async () => {
      rmSync(trace, { force: true });
      await record();
      const text = readFileSync(await html(trace, '--redact'), 'utf8');
      expect(text).toContain(`"code":-32000,"message":"[${HOSTILE.length} characters]"`);
      expect(text).toContain('"clientInfo":{"name":"[3 characters]"');
    });

    it('opens a session of 10,000 messages with less than two seconds of work', async () => {
      const large = join(folder, 'large.jsonl');
      const run = { run: 1, type: 'stdio', bytes: 500 };
      const lines = [{ n: 1, run: 1, ms: 0, type: 'run', gateway: 'http://gateway.example/mcp' }];
      const message = { params: { name: 'search', arguments: { text: 'x'.repeat(400) } } };
      for (let id = 0; id < 5_000; id++) {
        const ms = id * 10;
        const own = { ...run, id: String(id), method: 'tools/call', name: 'search', message };
        const kind = id % 50 === 0 ? 'error' : 'result';
        lines.push({ ...own, n: 2 * id + 2, ms, to: 'proxy', kind: 'request' } as never);
        lines.push({ ...own, n: 2 * id + 3, ms: ms + 7, to: 'client', kind, tookMs: 7 } as never);
      }
      writeFileSync(large, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`, {
        mode: 0o600,
      });
      const file = await html(large);
      const page = await openInChromium(file, 'light', { scripts: true, width: 1200 });
      await page.evaluate(FRAME);
      expect(await count(page)).toBe('10001 of 10001 rows');
      const busyMs = await page.busyMs();
      if (PICTURES !== undefined) {
        await page.screenshot(join(PICTURES, 'trace-large.png'));
        process.stderr.write(`10,000 messages: ${busyMs} ms of work\n`);
      }
      expect(busyMs).toBeGreaterThan(10);
      expect(busyMs).toBeLessThan(2_000);
      await page.press('End');
      expect(await details(page)).toContain('"n": 10001');
      expect(page.console).toEqual([]);
    }, 90_000);
  },
);
