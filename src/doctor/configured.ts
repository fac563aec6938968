import type { OwnEntry, UnreadConfig } from '../install/install.ts';
import { UsageError } from '../settings/options.ts';
import { readProxySettings } from '../settings/settings.ts';
import type { Target } from './doctor.ts';

/** What VS Code asks its user for and puts in place of this. */
const ASKED_FOR = /\$\{input:[^}]*\}/;

/**
 * What the installed clients start of this program, or the one named `only`, each as a gateway to
 * examine, in the environment `env` and what the entry adds to it. Never rejects.
 */
export async function configuredTargets(
  env: NodeJS.ProcessEnv,
  only?: string,
): Promise<{ targets: Target[]; unread: UnreadConfig[] }> {
  const { ownEntries } = await import('../install/install.ts');
  const { entries, unread } = await ownEntries();
  const isWanted = ({ client }: { client: string }) => only === undefined || client === only;
  const targets = entries.filter(isWanted).map((entry) => targetOf(entry, env));
  return { targets, unread: unread.filter(isWanted) };
}

function targetOf({ client, file, name, words, launch }: OwnEntry, own: NodeJS.ProcessEnv): Target {
  const given = Object.entries(launch.env ?? {});
  const env = {
    ...own,
    ...Object.fromEntries(given.filter(([, value]) => !ASKED_FOR.test(value))),
  };
  const isAsked = [...given.map(([, value]) => value), ...words].some((text) =>
    ASKED_FOR.test(text),
  );
  return {
    settings: settingsOf(words, env),
    env,
    configuredIn: { client, entry: name, file },
    launch,
    words,
    ...(isAsked ? { keyHolder: client } : {}),
  };
}

function settingsOf(words: readonly string[], env: NodeJS.ProcessEnv): Target['settings'] {
  try {
    return readProxySettings(words, env);
  } catch (error) {
    if (error instanceof UsageError) return { why: error.message };
    throw error;
  }
}
