import type { CommandModule } from 'yargs';
import { matcherFor } from '../../auth/configured-secrets.ts';
import {
  chosenOrigin,
  DEFAULT_ACCOUNT,
  isPlaceholder,
  keyHeaderNames,
  sendableKey,
  tailOf,
} from '../../auth/key.ts';
import { openGateway } from '../../bridge/open-gateway.ts';
import { type KeyTrial, tryKey } from '../../doctor/key-trial.ts';
import { toRpcError } from '../../failures/catalogue.ts';
import { Secrets } from '../../failures/secrets.ts';
import { createLog } from '../../log.ts';
import { PROXY_OPTIONS } from '../../settings/options.ts';
import { type ProxySettings, toSettings } from '../../settings/settings.ts';
import { promptHidden } from '../../terminal/hidden-prompt.ts';
import { Printer, tailInWords } from '../../terminal/printer.ts';
import { keychainError, sentence, withSlowNotice } from '../keychain-io.ts';

interface Arguments {
  url: string;
  force: boolean;
  verify: boolean;
  json: boolean;
}

/** What came of it, as `--json` prints it. */
interface Finding {
  readonly gateway: string;
  readonly account: string;
  readonly stored: boolean;
  readonly outcome: KeyTrial['outcome'] | 'untried' | Obstacle;
  /** What was found about the key, in sentences. */
  readonly message: string;
  readonly tools?: number;
  /** The key's last four characters, when it is at least 16 long. */
  readonly tail?: string;
  /** The source that comes before the keychain here, in words. */
  readonly shadowedBy?: string;
}

type Obstacle = 'no-keychain' | 'no-key' | 'malformed' | 'cancelled';

/** Bytes that no key has. */
const MAX_INPUT = 64 * 1024;
const CLOSE_LIMIT_MS = 1_000;
const TRIAL_TIMEOUT_SECONDS = '30';

/**
 * `mcp-latchkey login <url>`: reads a key from a hidden prompt, or from stdin when that is not a
 * terminal, tests it and stores it in the keychain. Exit 0 when it is stored, 130 after Ctrl-C,
 * else 1.
 */
export const loginCommand: CommandModule<object, Arguments> = {
  command: 'login <url>',
  describe: 'Store an API key in the keychain',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 login <url> [options]\n\nPrompts for an API key (hidden), tests it against the gateway, and stores it in the keychain. Running clients pick it up without a restart.\n\nFrom another program: op read op://vault/item/key | $0 login <url>',
      )
      .positional('url', {
        type: 'string',
        demandOption: true,
        describe: 'URL of the MCP endpoint',
      })
      .options({
        account: {
          ...PROXY_OPTIONS.account,
          describe: 'Account name, to store several keys [default: default]',
        },
        force: {
          type: 'boolean',
          default: false,
          describe: 'Store the key even if the gateway rejects it',
        },
        verify: {
          type: 'boolean',
          default: true,
          describe: 'Test the key first; --no-verify skips the test',
        },
        json: { type: 'boolean', default: false, describe: 'Print the result as JSON' },
        header: PROXY_OPTIONS.header,
        'header-file': PROXY_OPTIONS['header-file'],
        'key-header': PROXY_OPTIONS['key-header'],
        'allow-http': PROXY_OPTIONS['allow-http'],
        timeout: {
          ...PROXY_OPTIONS.timeout,
          describe: `Seconds to wait for the gateway [default: ${TRIAL_TIMEOUT_SECONDS}]`,
        },
        'connect-timeout': PROXY_OPTIONS['connect-timeout'],
        ca: PROXY_OPTIONS.ca,
        cert: PROXY_OPTIONS.cert,
        'key-pem': PROXY_OPTIONS['key-pem'],
        'key-pem-passphrase-env': PROXY_OPTIONS['key-pem-passphrase-env'],
      })
      .nargs('header', 1),
  async handler(argv) {
    const timeout = process.env.MCP_LATCHKEY_TIMEOUT || TRIAL_TIMEOUT_SECONDS;
    const settings = toSettings(argv.url, { timeout, ...argv }, process.env);
    const finding = await login(settings, argv);
    process.exitCode = finding.stored ? 0 : finding.outcome === 'cancelled' ? 130 : 1;
    if (argv.json) new Printer(process.stdout).json(finding);
    else print(new Printer(finding.stored ? process.stdout : process.stderr), finding);
  },
};

async function login(settings: ProxySettings, argv: Arguments): Promise<Finding> {
  const { url, account = DEFAULT_ACCOUNT } = settings;
  const gateway = url.origin + url.pathname;
  const stopped = (outcome: Finding['outcome'], message: string): Finding => ({
    gateway,
    account,
    stored: false,
    outcome,
    message,
  });
  const { readKey, storeKey } = await import('../../auth/keychain.ts');
  // Before anyone is asked for a key that cannot be kept.
  const before = await withSlowNotice(readKey(url, account));
  if ('error' in before) return stopped('no-keychain', keychainError(before.error));

  const isTerminal = process.stdin.isTTY;
  const text = isTerminal
    ? await promptHidden(`API key for ${gateway} (hidden): `, {
        input: process.stdin,
        output: process.stderr,
      })
    : await readStdin();
  if (text === undefined) return stopped('cancelled', 'Cancelled.');
  if (text.trim() === '') return stopped('no-key', 'No key entered.');
  const key = sendableKey(text);
  if (key === undefined) {
    return stopped(
      'malformed',
      isPlaceholder(text)
        ? 'That is a placeholder, not an API key. Copy the key itself.'
        : 'That is not a valid key: it contains spaces or invalid characters. Copy only the key.',
    );
  }

  const secrets = new Secrets((keys) => matcherFor(keys, process.env, settings));
  secrets.add(key);
  const trial = argv.verify
    ? await tryIt(settings, key, isTerminal ? 'the prompt' : 'standard input', secrets)
    : undefined;
  const found = {
    gateway,
    account,
    outcome: trial?.outcome ?? 'untried',
    message: secrets.mask(trialInWords(trial, url.host)),
    ...(trial?.outcome === 'works' ? { tools: trial.tools } : {}),
    ...tailOf(key),
  } as const;
  if (trial?.outcome === 'rejected' && !argv.force) return { ...found, stored: false };
  const after = await withSlowNotice(storeKey(url, account, key));
  if ('error' in after) {
    const message = `${found.message} ${keychainError(after.error)}`.trim();
    return { ...found, stored: false, outcome: 'no-keychain', message };
  }
  const { source, origin } = chosenOrigin(settings, process.env);
  return { ...found, stored: true, ...(source === 'keychain' ? {} : { shadowedBy: origin }) };
}

/** All of stdin, as far as a key may be long. */
async function readStdin(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    if (text.length > MAX_INPUT) break;
  }
  return text;
}

async function tryIt(
  settings: ProxySettings,
  key: string,
  origin: string,
  secrets: Secrets,
): Promise<KeyTrial> {
  const { keyHeader } = settings;
  // A key that a header gives would go along, or instead.
  const carriers = keyHeaderNames(keyHeader);
  const headers = new Map([...settings.headers].filter(([name]) => !carriers.includes(name)));
  const finding = {
    kind: 'found',
    key,
    ...(keyHeader === undefined ? {} : { keyHeader }),
    origin: { source: 'keychain', origin, ...tailOf(key) },
  } as const;
  const keys = { current: async () => finding, renew: async () => undefined };
  const log = createLog('error', (line) => void process.stderr.write(secrets.mask(line)));
  const gateway = openGateway({ ...settings, headers }, keys, log, secrets);
  try {
    return await tryKey(gateway, __VERSION__);
  } finally {
    await gateway.close(CLOSE_LIMIT_MS);
  }
}

function trialInWords(trial: KeyTrial | undefined, host: string): string {
  switch (trial?.outcome) {
    case 'works':
      return `The key works. ${host} offers ${trial.tools} ${trial.tools === 1 ? 'tool' : 'tools'}.`;
    case 'rejected': {
      const { detail, resource } = trial.failure;
      const page = resource?.documentation;
      const said = detail === undefined ? '' : `: ${detail}`;
      const more = page === undefined ? ' or create a new one.' : ` or create a new one: ${page}`;
      return `${host} rejected this key (HTTP 401)${said}. Check that you copied all of it,${more}`;
    }
    case 'error':
      return `The key was accepted, but listing the tools failed: ${trial.said}.`;
    case 'forbidden':
    case 'failed':
      return toRpcError(trial.failure).message;
    default:
      return '';
  }
}

function print(out: Printer, finding: Finding): void {
  const { gateway, account, stored, outcome, message, shadowedBy } = finding;
  const name = account === DEFAULT_ACCOUNT ? '' : `, account "${account}"`;
  const isGood = outcome === 'works' || outcome === 'untried';
  const mark = isGood ? 'ok' : stored ? 'warn' : 'fail';
  if (outcome === 'untried') out.marked('skipped', 'The key was not tested.');
  if (message !== '') out.result(mark, message);
  if (stored) {
    out.marked('ok', `Stored in the keychain for ${gateway}${name}${tailInWords(finding)}.`);
  } else out.line('  Nothing was stored.');
  if (shadowedBy !== undefined) {
    out.marked(
      'warn',
      `${sentence(`${shadowedBy} is set here and takes precedence over the keychain`)}`,
    );
  }
}
