import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openCallbackServer } from '../../src/auth/oauth/callback-server.ts';
import { chromium, openInChromium } from './chromium.ts';

/** Where pictures of the pages are kept, to be looked at: not by default. */
const PICTURES = process.env.CALLBACK_PICTURES;

describe.skipIf(chromium === undefined)(
  `the page after a sign-in in Chromium${chromium === undefined ? ' (skipped: Chromium is not here)' : ''}`,
  () => {
    it.each([
      ['signed in', 'light', 900],
      ['signed in', 'dark', 900],
      ['signed in', 'light', 320],
      ['failed', 'light', 900],
      ['failed', 'dark', 320],
      ['refused', 'light', 900],
    ] as const)('shows its end: %s (%s, %i px)', async (end, scheme, width) => {
      const gatewayHost = 'mcp.a-company-with-a-long-name.example';
      const server = await openCallbackServer({ gatewayHost });
      onTestFinished(() => server.close());
      const { signal } = new AbortController();
      void server.callback('state', signal).then((received) => {
        if (end === 'signed in') return received.succeed();
        return received.fail(
          `The authorization server did not allow it: ${'long'.repeat(30)} access_denied.`,
        );
      });
      const url = `http://127.0.0.1:${server.port}/callback?code=c&state=${end === 'refused' ? 'x' : 'state'}`;
      const page = await openInChromium(url, scheme, { width });
      expect(page.requests.filter((own) => own !== 'data:,')).toEqual([url]);
      // The browser says itself that a response is an error.
      const complaints = page.console.filter((line) => !line.includes('status of 400'));
      expect(complaints).toEqual([]);
      const text = (selector: string) =>
        page.evaluate(`document.querySelector('${selector}').textContent`);
      expect(await text('h1')).toMatch(
        {
          'signed in': /^You are signed in$/,
          failed: /failed$/,
          refused: /not the current sign-in/,
        }[end],
      );
      const color = "getComputedStyle(document.querySelector('main')).backgroundColor";
      expect(await page.evaluate(color)).toBe(
        scheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(28, 34, 41)',
      );
      const isWider = 'document.documentElement.scrollWidth > innerWidth';
      expect(await page.evaluate(isWider)).toBe(false);
      if (PICTURES !== undefined) {
        await page.screenshot(join(PICTURES, `${end}-${scheme}-${width}.png`));
      }
    });
  },
);
