/** The version in package.json; build.mjs puts it in. */
declare const __VERSION__: string;
/** The bundles that a session loads late, as `./keychain.js`; build.mjs puts them in. */
declare const __LATE_FILES__: readonly string[];

/** What src/cli/late-files.ts keeps, for every bundle: each has a scope of its own. */
declare var mcpLatchkeyLateFiles:
  | {
      /** What the file exports; undefined when it is not kept. */
      load(file: string): unknown;
      /** The file's source; undefined when it is not kept. */
      source(file: string): string | undefined;
    }
  | undefined;
