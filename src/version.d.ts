/** The version in package.json; build.mjs puts it in. */
declare const __VERSION__: string;
