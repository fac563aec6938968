#!/usr/bin/env node
// The user's browser, for BROWSER: GETs the URL, follows redirects, and ends. A user who agrees to
// everything.
const [url] = process.argv.slice(2);
await (await fetch(url)).text();
