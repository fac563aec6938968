// The browser of the demo's user: opens the page of the sandbox's authorization server, and agrees.
async function agree(link: string): Promise<void> {
  const page = await fetch(link);
  const [, ticket = ''] = /name="ticket" value="([^"]*)"/.exec(await page.text()) ?? [];
  const answers = new URLSearchParams({ ticket, holder: 'Ada Example', decision: 'allow' });
  await fetch(new URL('/consent', page.url), { method: 'POST', body: answers });
}

void agree(process.argv[2] ?? '');
