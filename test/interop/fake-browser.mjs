#!/usr/bin/env node
// The user's browser, for BROWSER: GETs the URL, follows redirects, and ends. A user who agrees to
// everything.
// Not with fetch, which takes twice as long to load.
import { get } from 'node:http';

const open = (url) =>
  get(url, (response) => {
    response.resume();
    if (response.statusCode >= 300 && response.statusCode < 400) {
      open(new URL(response.headers.location, url));
    }
  });
open(process.argv[2]);
