import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { type Page, UserAgent } from './user-agent.ts';

export interface TestBrowser {
  /** `BROWSER` for the program. */
  readonly env: { BROWSER: string };
  /** The URLs that the program has opened, each a tab. */
  readonly opened: string[];
  /** Every page that the user's visits have come through, by its URL. */
  readonly agent: UserAgent;
  /** The page on which the visit to the tab ended; the first tab's is 0. */
  page(tab?: number): Promise<Page>;
}

/** Presses Allow on every page that has such a button. */
async function allow(agent: UserAgent, url: string): Promise<Page> {
  const page = await agent.open(url);
  return page.html.includes('>Allow<') ? agent.submit(page, { button: 'Allow' }) : page;
}

/**
 * A program to open URLs with, which hands each to this process. `visit` is what the user does there.
 * `folder`: where the program is written.
 */
export async function startBrowser(
  folder: string,
  visit: (agent: UserAgent, url: string) => Promise<Page> = allow,
): Promise<TestBrowser> {
  const opened: string[] = [];
  const pages: Promise<Page>[] = [];
  const waiting = new Set<() => void>();
  const agent = new UserAgent();
  const server = createServer(async (request, response) => {
    const url = await text(request);
    response.end();
    const visited = visit(agent, url);
    // A test that does not look at the page ends without it.
    visited.catch(() => {});
    opened.push(url);
    pages.push(visited);
    for (const wake of [...waiting]) wake();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const script = join(folder, 'browser.cjs');
  writeFileSync(
    script,
    `const request = require('node:http').request({ port: ${port}, method: 'POST' });
request.on('error', () => process.exit(1)).end(process.argv[2]);`,
  );
  return {
    env: { BROWSER: `"${process.execPath}" "${script}"` },
    opened,
    agent,
    async page(tab = 0) {
      while (pages[tab] === undefined) {
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
      return pages[tab];
    },
  };
}
