import { constants, existsSync, lstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { ChangedLine } from '../install/install.ts';
import type { Target } from './doctor.ts';
import type { GatewayReport } from './report.ts';

/** Something that can be fixed without a decision of the user's. Nothing is changed yet. */
export interface Fix {
  /** What is going to change, each as a sentence. */
  readonly changes: readonly string[];
  readonly diff: readonly ChangedLine[];
  /** The gateway to log in to, which asks for what it needs: `apply` does nothing then. */
  readonly loginUrl?: URL;
  /** Makes the changes. Resolves with the backup's path where one was made. Rejects with the reason. */
  apply(): Promise<string | undefined>;
}

/**
 * What `doctor --fix` can fix for a target with this report, each planned only after the one before
 * it was applied or left. `packageRoot`: of this program, for entries whose program is gone. Rejects
 * with InstallError where a config cannot be changed.
 */
export async function* fixesOf(
  target: Target,
  report: GatewayReport,
  packageRoot: string,
): AsyncGenerator<Fix> {
  const fails = (name: string) =>
    report.findings.some((own) => own.name === name && own.status === 'fail');
  if (fails('config')) yield* readableConfig(target);
  if (fails('key') || fails('url')) yield* closedKeyFiles(target);
  if (fails('start')) yield* directEntry(target, packageRoot);
  yield* login(target, report);
}

async function* readableConfig({ configuredIn }: Target): AsyncGenerator<Fix> {
  if (configuredIn === undefined) return;
  const { clientOf, planReadable } = await import('../install/install.ts');
  const { changes, apply } = await planReadable(clientOf(configuredIn.client));
  if (changes.length > 0) yield { changes, diff: [], apply };
}

/** Closes files with keys to other users, where they are this user's. */
async function* closedKeyFiles({ settings, launch }: Target): AsyncGenerator<Fix> {
  if (process.platform === 'win32') return;
  const { optionValues } = await import('../install/install.ts');
  const named = optionValues(launch?.args ?? [], /^--(?:key|header)-file(?:=(.*))?$/s);
  const files = new Set([...named, ...('keyFile' in settings ? [String(settings.keyFile)] : [])]);
  for (const file of files) {
    const stats = lstatSync(file, { throwIfNoEntry: false });
    if (stats === undefined || !stats.isFile() || (stats.mode & 0o077) === 0) continue;
    if (stats.uid !== process.geteuid?.()) continue;
    const changes = [`Other users can open ${file}: close it to them (mode 600).`];
    yield { changes, diff: [], apply: () => close(file) };
  }
}

async function close(file: string): Promise<undefined> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await handle.chmod(0o600);
  } finally {
    await handle.close();
  }
}

/** Starts this program in place of one that is gone. */
async function* directEntry(target: Target, packageRoot: string): AsyncGenerator<Fix> {
  const { configuredIn, launch, words } = target;
  if (configuredIn === undefined || launch === undefined || words === undefined) return;
  const program = [launch.command, ...launch.args.slice(0, launch.args.length - words.length)];
  const installing = await import('../install/install.ts');
  const { clientOf, directStart, ownCopy, planInstall } = installing;
  const { client, entry } = configuredIn;
  const isFound = (word: string) =>
    process.platform === 'win32' ||
    installing.findOnPath(word, launch.env?.PATH ?? installing.clientPath(client)) !== undefined;
  const gone =
    program.find((word) => isAbsolute(word) && !existsSync(word)) ??
    (isAbsolute(launch.command) || isFound(launch.command) ? undefined : launch.command);
  if (gone === undefined) return;
  const direct = directStart(await ownCopy(packageRoot), words);
  const plan = await planInstall(clientOf(client), entry, direct.launch);
  yield {
    changes: [
      `${client} does not find ${gone}: start the copy of mcp-latchkey in your data folder.`,
    ],
    diff: plan.diff,
    async apply() {
      await direct.write();
      return plan.apply();
    },
  };
}

/** Signs in, or stores a key, where nothing but that is missing. */
async function* login({ settings }: Target, { verdict, findings }: GatewayReport) {
  if ('why' in settings) return;
  const { source } = findings.find(({ name }) => name === 'key')?.details ?? {};
  const isMissing =
    verdict.finding === 'start'
      ? verdict.reason === 'no_api_key'
      : verdict.reason === 'sign_in_required' ||
        (verdict.reason === 'no_api_key' && source === 'none');
  if (!isMissing) return;
  const signsIn = verdict.reason === 'sign_in_required';
  const { host } = settings.url;
  const fix: Fix = {
    changes: [signsIn ? `Sign in to ${host}.` : `Store a key for ${host} in the keychain.`],
    diff: [],
    loginUrl: settings.url,
    apply: async () => undefined,
  };
  yield fix;
}
