import type { CommandModule } from 'yargs';
import { DEFAULT_ACCOUNT } from '../../auth/key.ts';
import {
  type OptionName,
  PROXY_OPTIONS,
  pickOptions,
  SIGN_IN_OPTIONS,
} from '../../settings/options.ts';
import { type ProxySettings, toSettings } from '../../settings/settings.ts';
import { asSentence, Printer, tailInWords } from '../../terminal/printer.ts';
import { withSlowNotice } from '../keychain-io.ts';
import { type KeyFinding, loginWithKey, readStdin } from './login-key.ts';
import { findOffer, loginBySignIn, printSignIn, type SignInFinding } from './login-sign-in.ts';

interface Arguments {
  url: string;
  key: boolean;
  device: boolean;
  force: boolean;
  verify: boolean;
  json: boolean;
}

const TRIAL_TIMEOUT_SECONDS = '30';

/** Who sets one of these means to sign in. */
const TELLING_OPTIONS: readonly OptionName[] = [
  'no-browser',
  'client-id',
  'client-metadata-url',
  'scope',
  'callback-port',
  'issuer',
  'grant',
];

/**
 * `mcp-latchkey login <url>`: signs in by OAuth where the gateway offers it and no key is piped in or
 * stored; else reads a key from a hidden prompt, or from stdin when that is not a terminal, tests it
 * and stores it in the keychain. Exit 0 when a sign-in or a key is stored, 130 after Ctrl-C, else 1.
 */
export const loginCommand: CommandModule<object, Arguments> = {
  command: 'login <url>',
  describe: 'Sign in, or store an API key in the keychain',
  builder: (yargs) =>
    yargs
      .usage(
        '$0 login <url> [options]\n\nSigns in with your browser if the gateway offers that. Otherwise prompts for an API key (hidden), tests it, and stores it in the keychain. Running clients pick it up without a restart.\n\nFrom another program: op read op://vault/item/key | $0 login <url>',
      )
      .positional('url', {
        type: 'string',
        demandOption: true,
        describe: 'URL of the MCP endpoint',
      })
      .options({
        key: { type: 'boolean', default: false, describe: 'Ask for an API key, do not sign in' },
        device: {
          type: 'boolean',
          default: false,
          describe: 'Sign in on another device, by a code',
        },
        account: {
          ...PROXY_OPTIONS.account,
          describe: 'Account name, to store several keys or sign-ins [default: default]',
        },
        force: {
          type: 'boolean',
          default: false,
          describe: 'Store the key even if it is rejected or cannot be tested',
        },
        verify: {
          type: 'boolean',
          default: true,
          describe: 'Test it first; --no-verify skips the test',
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
        ...pickOptions(SIGN_IN_OPTIONS),
      })
      .nargs({ header: 1, 'authorize-param': 1 }),
  async handler(argv) {
    const timeout = process.env.MCP_LATCHKEY_TIMEOUT || TRIAL_TIMEOUT_SECONDS;
    const grant = argv.device ? { grant: 'device-code' } : {};
    const settings = toSettings(argv.url, { timeout, ...argv, ...grant }, process.env);
    const finding = await login(settings, argv);
    process.exitCode = finding.stored ? 0 : finding.outcome === 'cancelled' ? 130 : 1;
    if (argv.json) new Printer(process.stdout).json(finding);
    else {
      const out = new Printer(finding.stored ? process.stdout : process.stderr);
      if ('method' in finding) printSignIn(out, finding);
      else print(out, finding);
    }
  },
};

async function login(
  settings: ProxySettings,
  argv: Arguments,
): Promise<KeyFinding | SignInFinding> {
  const { auth } = settings.oauth;
  const given = argv as unknown as Readonly<Record<string, unknown>>;
  if (argv.key || auth === 'key' || given['key-header'] !== undefined) {
    return loginWithKey(settings, argv);
  }
  const isAsked =
    argv.device || auth === 'oauth' || TELLING_OPTIONS.some((name) => given[name] !== undefined);
  const piped = isAsked || process.stdin.isTTY ? '' : await readStdin();
  // A key that is stored is used before a sign-in: it is the one to replace.
  if (piped.trim() !== '' || (!isAsked && (await hasKey(settings)))) {
    return loginWithKey(settings, argv, piped || undefined);
  }
  const offer = await findOffer(settings);
  if (!isAsked && !('context' in offer)) {
    return loginWithKey(settings, argv, process.stdin.isTTY ? undefined : piped);
  }
  return loginBySignIn(settings, offer, argv.verify);
}

async function hasKey({ url, account = DEFAULT_ACCOUNT }: ProxySettings): Promise<boolean> {
  const { readKey } = await import('../../auth/keychain.ts');
  const found = await withSlowNotice(readKey(url, account));
  return 'value' in found && found.value.key !== null;
}

function print(out: Printer, finding: KeyFinding): void {
  const { gateway, account, stored, outcome, message, shadowedBy, replaced, isSame } = finding;
  const name = account === DEFAULT_ACCOUNT ? '' : `, account "${account}"`;
  const isGood = outcome === 'works' || outcome === 'untried';
  const mark = isGood ? 'ok' : stored ? 'warn' : 'fail';
  if (message !== '') out.result(outcome === 'untried' ? 'skipped' : mark, message);
  if (stored) {
    const place = `${gateway}${name}${tailInWords(finding)}`;
    out.marked('ok', asSentence(`stored in the keychain for ${place}`));
  } else out.line('  Nothing was stored.');
  if (isSame) out.text('This key was already stored.', 2);
  if (replaced) out.text(`It replaces the previous key${tailInWords(replaced)}.`, 2);
  if (shadowedBy !== undefined) {
    out.marked(
      'warn',
      asSentence(`${shadowedBy} is set here and takes precedence over the keychain`),
    );
  }
}
