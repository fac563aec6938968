import type { CommandModule } from 'yargs';
import { matcherFor } from '../../auth/configured-secrets.ts';
import { CachedKeyProvider } from '../../auth/key-ring.ts';
import { hintsIn } from '../../bridge/filter/known-tools.ts';
import { type Rule, Rules } from '../../bridge/filter/rules.ts';
import { openGateway } from '../../bridge/open-gateway.ts';
import { exchange, notifyInitialized } from '../../doctor/key-trial.ts';
import { toRpcError } from '../../failures/catalogue.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { Secrets } from '../../failures/secrets.ts';
import { displayUrl } from '../../failures/url-secrets.ts';
import {
  itemsOf,
  memberAt,
  memberOf,
  membersOf,
  stringOf,
  textIn,
  valueIn,
} from '../../jsonrpc/json-members.ts';
import { createLog } from '../../log.ts';
import { oneValueEach, PROXY_OPTIONS } from '../../settings/options.ts';
import { type ProxySettings, toSettings } from '../../settings/settings.ts';
import { Printer } from '../../terminal/printer.ts';
import type { Transport } from '../../transport/transport.ts';

interface Arguments {
  url: string;
  json: boolean;
}

/** As `--json` prints it. */
interface OfferedTool {
  readonly name: string;
  /** The hints that the gateway gives (MCP 2025-11-25, ToolAnnotations). */
  readonly annotations: Readonly<Record<string, boolean>>;
  /** The rule that keeps it from the client; null where it is left. */
  readonly blockedBy: string | null;
}

const HINTS = ['readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint'] as const;
const MOST_PAGES = 1_000;
const CLOSE_LIMIT_MS = 1_000;
const TIMEOUT_SECONDS = '30';

/**
 * `mcp-latchkey tools <url>`: the tools that the gateway offers, and what the filters leave of them.
 * Exit 1 when they cannot be listed.
 */
export const toolsCommand: CommandModule<object, Arguments> = {
  command: 'tools <url>',
  describe: 'List the tools of a gateway, and what the filters leave',
  builder: (yargs) =>
    yargs
      .usage(
        "$0 tools <url> [options]\n\nLists the tools that the gateway offers, with their annotations. With the filters of your client's config, also which tools are left and which rule blocks each of the others.",
      )
      .positional('url', {
        type: 'string',
        demandOption: true,
        describe: 'URL of the MCP endpoint',
      })
      .options({ json: { type: 'boolean', default: false, describe: 'Print the list as JSON' } })
      .options(PROXY_OPTIONS)
      .nargs(oneValueEach())
      .group(Object.keys(PROXY_OPTIONS), 'Options of the proxy:'),
  async handler(argv) {
    const timeout = process.env.MCP_LATCHKEY_TIMEOUT || TIMEOUT_SECONDS;
    const settings = toSettings(argv.url, { timeout, ...argv }, process.env);
    const secrets = new Secrets((keys) => matcherFor(keys, process.env, settings));
    const listed = await listTools(settings, secrets);
    const gateway = displayUrl(settings.url);
    if ('error' in listed) {
      const error = secrets.mask(listed.error);
      process.exitCode = 1;
      if (argv.json) new Printer(process.stdout).json({ gateway, error });
      else new Printer(process.stderr).failure(error);
      return;
    }
    const tools: OfferedTool[] = JSON.parse(secrets.mask(JSON.stringify(listed.tools), true));
    const out = new Printer(process.stdout);
    if (argv.json) out.json({ gateway, tools });
    else printTools(out, gateway, tools);
  },
};

async function listTools(
  settings: ProxySettings,
  secrets: Secrets,
): Promise<{ tools: OfferedTool[] } | { error: string }> {
  const log = createLog('error', (line) => void process.stderr.write(secrets.mask(line)));
  const keys = new CachedKeyProvider(settings, process.env, log, secrets);
  const gateway = openGateway(settings, keys, log, secrets);
  try {
    return await readPages(gateway, new Rules(settings.filters));
  } finally {
    await gateway.close(CLOSE_LIMIT_MS);
  }
}

async function readPages(
  gateway: Transport,
  rules: Rules,
): Promise<{ tools: OfferedTool[] } | { error: string }> {
  const ask = async (
    method: string,
    params: object,
  ): Promise<{ error: string } | { result: Buffer | undefined }> => {
    const answer = await exchange(gateway, method, params);
    if ('failure' in answer) return { error: toRpcError(answer.failure).message };
    const { bytes, isError } = answer.reply;
    if (!isError) return { result: memberOf(bytes, 'result') };
    const said = textIn(memberAt(bytes, 'error', 'message')) ?? 'no reason';
    return { error: `The gateway refused ${method}: ${cleanNetworkText(said, 300)}` };
  };
  const hello = await ask('initialize', {
    protocolVersion: '2025-11-25',
    capabilities: {},
    clientInfo: { name: 'mcp-latchkey tools', version: __VERSION__ },
  });
  if ('error' in hello) return hello;
  await notifyInitialized(gateway);
  const tools: OfferedTool[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const answer = await ask('tools/list', cursor === undefined ? {} : { cursor });
    if ('error' in answer) return answer;
    const items = itemsOf(memberOf(answer.result, 'tools'), Number.POSITIVE_INFINITY) ?? [];
    tools.push(...items.map((item) => offeredTool(item, rules)));
    cursor = stringOf(answer.result, 'nextCursor');
    if (cursor === undefined) break;
  }
  return { tools };
}

function offeredTool(tool: Buffer, rules: Rules): OfferedTool {
  const [named, annotations] = membersOf(tool, ['name', 'annotations']);
  const name = textIn(named) ?? '';
  const hints = membersOf(annotations, HINTS).map((hint) => valueIn(hint));
  const given = HINTS.flatMap((hint, index) => {
    const value = hints[index];
    return typeof value === 'boolean' ? [[hint, value] as const] : [];
  });
  const rule = rules.blockerOf('tool', name) ?? rules.blockerByHints(hintsIn(annotations));
  return {
    name: cleanNetworkText(name, 200),
    annotations: Object.fromEntries(given),
    blockedBy: rule === undefined ? null : ruleInWords(rule),
  };
}

function ruleInWords({ words, isManaged }: Rule): string {
  return isManaged ? `${words} (your organization's policy)` : words;
}

function printTools(out: Printer, gateway: string, tools: readonly OfferedTool[]): void {
  const left = tools.filter(({ blockedBy }) => blockedBy === null).length;
  const count = left === tools.length ? `${left}` : `${left} of ${tools.length}`;
  out.title(`${count} tools at ${gateway}`);
  const width = Math.min(40, Math.max(0, ...tools.map(({ name }) => name.length)));
  for (const { name, annotations, blockedBy } of tools) {
    const said = `${name.padEnd(width)}  ${annotationWords(annotations).padEnd(11)}`;
    if (blockedBy === null) out.marked('ok', said.trimEnd());
    else out.marked('skipped', `${said}  ${out.paint('dim', blockedBy)}`);
  }
}

function annotationWords({ readOnlyHint, destructiveHint }: OfferedTool['annotations']): string {
  if (readOnlyHint === true) return 'read-only';
  if (destructiveHint === false) return 'additive';
  return destructiveHint === true ? 'destructive' : 'unknown';
}
