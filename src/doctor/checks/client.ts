import type { Launch } from '../../install/install.ts';
import { ownCommand } from '../../terminal/own-command.ts';
import { shellWord } from '../../terminal/shell-word.ts';
import type { Finding } from '../finding.ts';
import type { ConfiguredIn } from '../report.ts';

/** An entry of a client's config, as the client starts it. */
export interface ClientEntry extends ConfiguredIn {
  readonly launch: Launch;
  /** Whether the client asks its user for the key, so that it cannot be started here. */
  readonly isAsked: boolean;
  /** The gateway's, as it may be shown. */
  readonly url: string;
}

/**
 * Whether the client itself can use the entry, which may work in this terminal and not there. Reads
 * the config by the client's own rules, and starts the entry with only the variables that a client
 * passes on. `earlier` is what was found for this terminal. Takes a minute at most, for an entry that
 * does not answer. Never rejects.
 */
export async function checkClient(
  entry: ClientEntry,
  earlier: readonly Finding[],
): Promise<Finding[]> {
  const { clientPath, plainKeysIn, readingProblems, tryEntry } = await import(
    '../../install/install.ts'
  );
  const { client, entry: name, launch } = entry;
  const [unreadable] = await readingProblems(client).catch(() => []);
  const config: Finding = {
    ...{ check: 'client', name: 'config' },
    ...(unreadable === undefined
      ? { status: 'ok', line: `${client} can read it` }
      : { status: 'fail', line: unreadable.why, problem: unreadable }),
  };
  const keys = plainKeysIn(launch);
  const secrets: Finding[] = keys.length === 0 ? [] : [plainKeys(entry, keys)];
  const found = [config, ...secrets];
  const start = { check: 'client', name: 'start' } as const;
  if (entry.isAsked) {
    const line = `${client} asks you for the key when it starts it`;
    return [...found, { ...start, status: 'skipped', line }];
  }
  const startedAt = performance.now();
  const trial = await tryEntry(launch, clientPath(client));
  const base = { ...start, ms: performance.now() - startedAt };
  if (trial.outcome === 'connected') {
    return [...found, { ...base, status: 'ok', line: `${client} can start it` }];
  }
  if (trial.outcome !== 'refused') {
    const sentence = `${client} cannot start ${name}: ${trial.message}.`;
    const remedy = `Run \`${ownCommand()} install\` again for ${client}, then restart ${client}.`;
    const problem = { sentence, remedy };
    return [...found, { ...base, status: 'fail', line: trial.message, problem }];
  }
  const { reason = 'error', message } = trial;
  if (earlier.some((finding) => finding.name === 'authorization' && finding.status === 'ok')) {
    const line = `fails with ${reason}, although it works in this terminal`;
    const { source } = earlier.find(({ name }) => name === 'key')?.details ?? {};
    const problem = { ...onlyHere(entry, reason, message, source === 'keychain'), reason };
    return [...found, { ...base, status: 'fail', line, problem }];
  }
  const line = `${client} can start it, and it fails as above (${reason})`;
  return [...found, { ...base, status: 'skipped', line }];
}

/** It works, so that this changes no verdict. */
function plainKeys({ client, url }: ClientEntry, names: readonly string[]): Finding {
  const own = `mcp-latchkey login ${shellWord(url)}`;
  return {
    ...{ check: 'client', name: 'plain-key', status: 'warn' },
    line: `${client}'s config contains ${names.join(' and ')} in plain text. Store the key with ${own}, then remove it from the config and from its backups`,
    details: { in: names },
  };
}

function onlyHere(
  { client, url }: ClientEntry,
  reason: string,
  message: string,
  isInKeychain: boolean,
) {
  const [first = ''] = message.split(/(?<=\.) /, 1);
  if (reason !== 'no_api_key') {
    return {
      sentence: `It works in this terminal, but not in ${client}: ${first}`,
      remedy: `Compare the variables of this terminal with those in ${client}'s config.`,
    };
  }
  if (isInKeychain) {
    return {
      sentence: `${client} cannot reach the keychain in which this terminal finds the key.`,
      remedy: `Use --key-command or --key-file in ${client}'s entry, then restart ${client}.`,
    };
  }
  return {
    sentence: `The key is set in this terminal only, so ${client} does not find it.`,
    remedy: `Store it with \`${ownCommand()} login ${shellWord(url)}\`, then restart ${client}.`,
  };
}
