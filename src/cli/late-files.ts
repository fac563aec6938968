import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { compileFunction } from 'node:vm';

/**
 * Reads the files that a session may load late, so that each belongs to the version that runs, also
 * when the package is updated in place or removed meanwhile. build.mjs has every bundle ask for them.
 * Rejects with the file system's error; then they are loaded from the package.
 */
export async function keepLateFiles(): Promise<void> {
  // Not join(): thirty calls of it in a row have V8 optimize it, which brings 3 MB of the compiler's
  // own code into memory.
  const read = async (file: string) =>
    [file, await readFile(`${__dirname}/${file}`, 'utf8')] as const;
  const sources = new Map(await Promise.all(__LATE_FILES__.map(read)));
  const loaded = new Map<string, { exports: unknown }>();
  globalThis.mcpLatchkeyLateFiles = {
    source: (file) => sources.get(file),
    load(file) {
      const source = sources.get(file);
      if (source === undefined) return undefined;
      let module = loaded.get(file);
      if (module === undefined) {
        module = { exports: {} };
        loaded.set(file, module);
        const filename = join(__dirname, file);
        const names = ['exports', 'require', 'module', '__filename', '__dirname'];
        const run = compileFunction(source, names, { filename });
        run(module.exports, createRequire(filename), module, filename, __dirname);
      }
      return module.exports;
    },
  };
}
