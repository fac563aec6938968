import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { clientLogFile } from '../../src/doctor/client-log.ts';
import { sandboxKeys } from '../../src/sandbox/accounts.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { chromium, openInChromium } from './chromium.ts';
import { program, runToEnd } from './running-proxy.ts';

/** Where pictures of the page are kept, to be looked at: not by default. */
const PICTURES = process.env.DOCTOR_PICTURES;

describe.skipIf(chromium === undefined)(
  `the page of --report in Chromium${chromium === undefined ? ' (skipped: Chromium is not here)' : ''}`,
  () => {
    it.each([
      ['healthy', sandboxKeys.good, 'light'],
      ['rejected', sandboxKeys.revoked, 'dark'],
    ] as const)(
      'shows a gateway that is %s, with its waterfall, and asks for nothing',
      async (name, key, scheme) => {
        const folder = mkdtempSync(join(tmpdir(), 'latchkey-page-'));
        onTestFinished(() => rmSync(folder, { recursive: true }));
        const { url, close } = await startSandbox();
        onTestFinished(close);
        const file = join(folder, 'report.html');
        const env = { MCP_LATCHKEY_API_KEY: key };
        await runToEnd(['doctor', url, '--report', file], '', env);

        const page = await openInChromium(file, scheme);
        expect(page.requests.filter((own) => own !== 'data:,')).toEqual([pathToFileURL(file).href]);
        const bars = `[...document.querySelectorAll('svg.waterfall rect')].map((bar) => bar.getBoundingClientRect().width)`;
        const widths = (await page.evaluate(bars)) as number[];
        expect(widths.length).toBeGreaterThan(name === 'healthy' ? 20 : 4);
        expect(Math.min(...widths)).toBeGreaterThan(0);
        const isWider = 'document.documentElement.scrollWidth > innerWidth';
        expect(await page.evaluate(isWider)).toBe(false);
        const style = (selector: string, property: string) =>
          page.evaluate(`getComputedStyle(document.querySelector('${selector}')).${property}`);
        expect(await style('body', 'backgroundColor')).toBe(
          scheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(20, 24, 29)',
        );
        expect(await page.evaluate(`document.querySelector('.sentence').textContent`)).toMatch(
          name === 'healthy' ? /^Everything works/ : /^API key rejected \(HTTP 401\)/,
        );
        if (PICTURES !== undefined) await page.screenshot(join(PICTURES, `${name}-${scheme}.png`));
        expect(page.console).toEqual([]);
      },
    );

    it('shows the log of a client, which fits on a phone', async () => {
      const HOME = mkdtempSync(join(tmpdir(), 'latchkey-page-'));
      onTestFinished(() => rmSync(HOME, { recursive: true }));
      const { url, close } = await startSandbox();
      onTestFinished(close);
      const { stdout } = await runToEnd(['install', '--list', '--json'], '', { HOME });
      const clients = JSON.parse(stdout) as { client: string; file: string }[];
      const config = clients.find(({ client }) => client === 'claude-desktop')?.file as string;
      const { platform } = process;
      const own = { client: 'Claude Desktop', entry: 'acme', file: config };
      const log = clientLogFile(own, { platform, home: HOME }) as string;
      for (const file of [config, log]) mkdirSync(dirname(file), { recursive: true });
      const env = { MCP_LATCHKEY_API_KEY: sandboxKeys.good };
      const acme = { command: '/no/such/node', args: [program, url], env };
      writeFileSync(config, JSON.stringify({ mcpServers: { acme } }));
      writeFileSync(log, `2026-01-31T13:45:59.123Z [acme] spawn ${'a/'.repeat(200)}node ENOENT\n`);
      const file = join(HOME, 'report.html');
      await runToEnd(['doctor', '--report', file], '', { HOME });
      const page = await openInChromium(file, 'light', { width: 390 });
      expect(await page.evaluate('document.documentElement.scrollWidth > innerWidth')).toBe(false);
      const lastLog = `[...document.querySelectorAll('pre')].at(-1).textContent`;
      expect(await page.evaluate(lastLog)).toContain('ENOENT');
      if (PICTURES !== undefined) await page.screenshot(join(PICTURES, 'client-390.png'));
      if (PICTURES !== undefined) copyFileSync(file, join(PICTURES, 'client.html'));
      expect(page.console).toEqual([]);
    });
  },
);
