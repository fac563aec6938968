import { randomBytes } from 'node:crypto';
import { lstatSync, statSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import { UnusableFile } from '../../private-path.ts';
import { renameOnto } from '../../rename-onto.ts';
import { oneValueEach, PROXY_OPTIONS, UsageError } from '../../settings/options.ts';
import { Printer } from '../../terminal/printer.ts';
import { refuseOtherFile } from '../earlier-output.ts';
import { reportingErrors } from '../reporting-errors.ts';
import { proxyLine } from './install.ts';
import { tildePath } from './install-text.ts';

interface Arguments {
  url: string | undefined;
  output: string | undefined;
  name: string | undefined;
  icon: string | undefined;
  json: boolean | undefined;
}

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');

/** `mcp-latchkey bundle`: exit 0 when the file is written, 1 when it could not be, 2 on misuse. */
export const bundleCommand: CommandModule<object, Arguments> = {
  command: 'bundle [url]',
  describe: 'Make a file to double-click for Claude Desktop',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 bundle [url] [options]\n\nWrites an MCP bundle (.mcpb): a file that Claude Desktop and other hosts install when it is opened, on every platform, without Node.js or npm. The host asks for the API key and keeps it; without a URL it asks for that too.',
      )
      .positional('url', { type: 'string', describe: 'URL of the MCP endpoint' })
      .options({
        output: {
          alias: 'o',
          type: 'string',
          requiresArg: true,
          value: 'FILE.mcpb',
          describe: 'File to write [default: NAME.mcpb]',
        },
        name: { type: 'string', requiresArg: true, describe: 'Name that people see in the host' },
        icon: {
          type: 'string',
          requiresArg: true,
          value: 'FILE.png',
          describe: 'Icon in the host [default: a key]',
        },
        json: { type: 'boolean', describe: 'Print the result as JSON' },
      })
      .options(PROXY_OPTIONS)
      .nargs(oneValueEach())
      .group(Object.keys(PROXY_OPTIONS), 'Options of the proxy, for the bundle:'),
  handler: (args) => reportingErrors(args.json, () => bundle(args)),
};

/** In the place of the URL that the host asks for. */
const NO_URL = 'https://gateway.invalid/';

async function bundle(args: Arguments): Promise<void> {
  const { BUNDLED_LAUNCHER, InstallError, makeBundle, nameForGateway } = await import(
    '../../install/install.ts'
  );
  const given = args as unknown as Readonly<Record<string, unknown>>;
  const { url, words } = await proxyLine(args.url ?? NO_URL, given);
  const title = args.name ?? (args.url === undefined ? 'MCP gateway' : nameForGateway(url));
  const name = title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  if (name === '') throw new UsageError('--name needs letters of the Latin alphabet, or digits');
  const file = resolve(args.output ?? `${name}.mcpb`);
  const failed = (error: unknown): never => {
    throw new InstallError(`The bundle cannot be made: ${(error as Error).message}`);
  };
  const icon = args.icon === undefined ? undefined : await readFile(args.icon).catch(failed);
  if (icon && icon.toString('latin1', 0, 4) !== '\x89PNG')
    throw new UsageError('--icon needs a PNG file');
  const content = await makeBundle(packageRoot, {
    ...{ title, name, url: args.url === undefined ? undefined : url, options: words.slice(1) },
    ...(icon === undefined ? {} : { icon }),
  });
  await replaceBundle(file, content, BUNDLED_LAUNCHER).catch(failed);
  const out = new Printer(process.stdout);
  const paths = Object.entries(PROXY_OPTIONS).flatMap(([option, about]) =>
    'path' in about && given[option] !== undefined ? [`--${option}`] : [],
  );
  const notes =
    paths.length === 0
      ? []
      : [`${paths.join(' and ')} must be at the same path on each computer with this bundle.`];
  if (args.json) {
    return out.json({ file, bytes: content.length, name, url: args.url ? url.href : null, notes });
  }
  out.marked('ok', `Wrote ${tildePath(file)} (${(content.length / 1e6).toFixed(1)} MB).`);
  for (const note of notes) out.note(note);
  out.text('Open it with Claude Desktop: double-click it, or drag it into Settings > Extensions.');
}

/**
 * Writes a bundle in the place of an older one, and of nothing else. In one step: what is a link there
 * is replaced, not followed. Rejects with the reason.
 */
async function replaceBundle(file: string, content: Buffer, marker: string): Promise<void> {
  const target = statSync(file, { throwIfNoEntry: false });
  if (target !== undefined && !target.isFile()) throw new UnusableFile(`${file} is not a file`);
  if (lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() !== true) {
    refuseOtherFile(file, { name: 'an earlier bundle', start: 'PK', marker });
  }
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await writeFile(temporary, content, { flag: 'wx' });
    await renameOnto(file, temporary);
  } finally {
    await rm(temporary, { force: true });
  }
}
