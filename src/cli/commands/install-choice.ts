import type { Client } from '../../install/install.ts';
import { UsageError } from '../../settings/options.ts';
import { readProxySettings } from '../../settings/settings.ts';
import { ask, canAsk } from '../../terminal/ask.ts';
import type { Printer } from '../../terminal/printer.ts';
import type { InstallArguments } from './install.ts';

/** Which clients are to get an entry for which gateway. */
interface Targets {
  readonly clients: readonly Client[];
  /** A URL, or the name of a built-in gateway. */
  readonly gateway: string;
  /** Whether the change can be written without asking. */
  readonly isConfirmed: boolean;
}

/**
 * What the command line says, and what the user answers where it leaves something open. Rejects with
 * UsageError where no one can be asked, with EntryError for an unknown client, with InstallError
 * where the user gives up or there is no client.
 */
export async function chosenTargets(args: InstallArguments, out: Printer): Promise<Targets> {
  const { clientOf } = await import('../../install/install.ts');
  const { client, url, all, yes, json } = args;
  const isOpen = client === undefined || url === undefined;
  const isAnswered = yes === true || json === true || args['dry-run'] === true;
  if (all) {
    if (url !== undefined) throw new UsageError('--all is for every client: leave the client out');
    if (client === undefined)
      throw new UsageError('--all needs a URL, such as: install --all kindo');
    if (!isAnswered && !canAsk()) {
      throw new UsageError('without a terminal, --all writes only with --yes');
    }
    const clients = (await installedClients()).map(({ client: own }) => own);
    return { clients, gateway: client, isConfirmed: isAnswered };
  }
  if (!isOpen) return { clients: [clientOf(client)], gateway: url, isConfirmed: true };
  const isUrl = client !== undefined && URL.canParse(client);
  const known = client === undefined || isUrl ? undefined : clientOf(client);
  if (isAnswered || !canAsk()) {
    throw new UsageError('install needs a client and a URL, such as: install cursor kindo');
  }
  const clients = known ? [known] : await chosenClients();
  const gateway = isUrl ? client : await typedGateway(args, out);
  return { clients, gateway, isConfirmed: false };
}

/** The clients on this computer, with the names of their entries. Rejects with InstallError. */
async function installedClients(): Promise<{ client: Client; entries: readonly string[] }[]> {
  const { clientOf, InstallError, listClients } = await import('../../install/install.ts');
  const listed = (await listClients()).filter(({ installed }) => installed);
  if (listed.length === 0) {
    throw new InstallError(
      'No supported client was found on this computer. Run mcp-latchkey install --list to see the clients that are supported',
    );
  }
  return listed.map(({ client, entries }) => ({ client: clientOf(client), entries }));
}

async function chosenClients(): Promise<Client[]> {
  const { InstallError } = await import('../../install/install.ts');
  const found = await installedClients();
  const { chooseSeveral } = await import('../../terminal/choose.ts');
  const chosen = await chooseSeveral(
    'Which clients should use the gateway?',
    found.map(({ client, entries }) => ({
      name: `${client.displayName}${entries.length > 0 ? ` (has ${entries.join(', ')})` : ''}`,
      value: client,
      checked: found.length === 1,
    })),
  );
  if (chosen === undefined) throw new InstallError('Cancelled, nothing was written');
  return chosen;
}

/** Asks until a URL can be used. */
async function typedGateway(args: InstallArguments, out: Printer): Promise<string> {
  const { InstallError } = await import('../../install/install.ts');
  const allowHttp = (args as unknown as Record<string, unknown>)['allow-http'] === true;
  for (;;) {
    const answer = await ask('URL of the MCP endpoint: ');
    if (answer === undefined) throw new InstallError('Cancelled, nothing was written');
    const gateway = answer.trim();
    try {
      if (gateway === '') continue;
      readProxySettings([gateway, ...(allowHttp ? ['--allow-http'] : [])], {});
      return gateway;
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      out.failure(error.message);
    }
  }
}
