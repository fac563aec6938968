import { enableCompileCache } from './compile-cache.ts';

// A file of its own, which bin/mcp-latchkey.js loads first: of this one alone there is no compiled code.
enableCompileCache(process.env);
