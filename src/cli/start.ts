import { existsSync, readFileSync } from 'node:fs';
import { Script } from 'node:vm';
import { type CompileCache, openCompileCache } from './compile-cache.ts';

// bin/mcp-latchkey.js loads this file, which loads all others of dist/: of this one alone there is no
// compiled code.

/** A session has answered `initialize` by then, so what that takes is compiled. */
const STORE_DELAY_MS = 1000;

/** A bundle smaller than that, in bytes, is compiled sooner than its compiled code is read. */
const LEAST_BYTES = 8192;

const WRAPPER = ['(function (exports, require, module, __filename, __dirname) {', '\n})'] as const;

type Loader = (id: string) => unknown;

/** A `require` for bundles that takes their compiled code from `cache`, and stores what is not there. */
function cachedLoader(cache: CompileCache): Loader {
  const loaded = new Map<string, { exports: unknown }>();
  const compiled: [string, Buffer, Script][] = [];
  let isStoredAtExit = false;
  const store = () => {
    for (const [name, source, script] of compiled.splice(0)) {
      cache.write(name, source, script.createCachedData());
    }
  };
  const load: Loader = (id) => {
    if (!id.startsWith('./')) return require(id);
    const known = loaded.get(id);
    if (known !== undefined) return known.exports;
    const name = id.slice(2);
    const filename = `${__dirname}/${name}`;
    const source = existsSync(filename) ? readFileSync(filename) : undefined;
    // It throws what says that files of this program are missing.
    if (source === undefined) return require(filename);
    const data = source.length < LEAST_BYTES ? undefined : cache.read(name, source);
    const script = new Script(WRAPPER[0] + source.toString() + WRAPPER[1], {
      filename,
      columnOffset: -WRAPPER[0].length,
      ...(data === undefined ? {} : { cachedData: data }),
    });
    if (source.length >= LEAST_BYTES && (data === undefined || script.cachedDataRejected)) {
      if (compiled.length === 0) setTimeout(store, STORE_DELAY_MS).unref();
      if (!isStoredAtExit) process.once('exit', store);
      isStoredAtExit = true;
      compiled.push([name, source, script]);
    }
    const module = { exports: {} };
    loaded.set(id, module);
    try {
      script.runInThisContext()(module.exports, load, module, filename, __dirname);
    } catch (error) {
      // As with Node.js, whoever asks for it again gets the error too, and not half a module.
      loaded.delete(id);
      throw error;
    }
    return module.exports;
  };
  return load;
}

const cache = openCompileCache(process.env);
if (cache === undefined) require('./main.ts');
else cachedLoader(cache)('./main.js');
