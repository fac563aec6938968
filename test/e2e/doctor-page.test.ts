import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { sandboxKeys } from '../../src/sandbox/accounts.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { chromium, openInChromium } from './chromium.ts';
import { runToEnd } from './running-proxy.ts';

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
  },
);
