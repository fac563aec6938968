import { homedir } from 'node:os';
import { isAbsolute, join, relative } from 'node:path';
import type { EntryTrial, ListedClient, PlannedChange } from '../../install/install.ts';
import type { Printer } from '../../terminal/printer.ts';
import { columns } from '../../terminal/wrap-text.ts';

/** The clients that are installed, with their configs, and the names of the others. */
export function sayClients(out: Printer, clients: readonly ListedClient[]): void {
  const installed = clients.filter((client) => client.installed);
  const indent = ' '.repeat(21);
  for (const { client, file, entries, problem } of installed) {
    out.line(
      `${out.paint('green', '●')} ${out.paint('bold', client.padEnd(19))}${tildePath(file)}`,
    );
    if (entries.length > 0) out.line(`${indent}mcp-latchkey entries: ${entries.join(', ')}`);
    if (problem !== undefined) {
      out.line(`${indent}${out.paint('red', problem)}`);
    }
  }
  const others = clients.filter((client) => !client.installed).map(({ client }) => client);
  if (others.length === 0) return;
  if (installed.length > 0) out.line();
  out.text(`Not found on this computer: ${others.join(', ')}.`);
}

export function sayLogin(out: Printer, introduction: string, login: readonly string[]): void {
  out.line(introduction);
  out.command(login);
}

export function sayPlan(out: Printer, { client, file, name, change, diff }: PlannedChange): void {
  out.line(
    `${out.paint('bold', client.displayName)}: ${tildePath(file)}${change === 'created' ? ' (new)' : ''}`,
  );
  if (change === 'unchanged') return;
  out.line();
  sayDiff(out, diff);
  out.line();
  if (change === 'updated') out.text(`Updating the existing entry ${name}.`);
}

export function sayDiff(out: Printer, diff: PlannedChange['diff']): void {
  const width = columns(Infinity) - 4;
  for (const { sign, text } of diff) {
    const shown = text.length > width ? `${text.slice(0, width - 1)}…` : text;
    out.line(out.paint(sign === '+' ? 'green' : 'red', `  ${sign} ${shown}`));
  }
}

const DONE: Readonly<Record<PlannedChange['change'], readonly [string, string]>> = {
  created: ['Added', 'to'],
  added: ['Added', 'to'],
  updated: ['Updated', 'in'],
  removed: ['Removed', 'from'],
  unchanged: ['', ''],
};

export function sayDone(out: Printer, plan: PlannedChange, backup: string | undefined): void {
  if (plan.change === 'unchanged') {
    const isThere = plan.launch !== undefined;
    out.marked('ok', isThere ? `${plan.name} is up to date.` : 'No such entry. Nothing to do.');
  } else {
    const [done, where] = DONE[plan.change];
    out.marked('ok', `${done} ${plan.name} ${where} ${plan.client.displayName}.`);
    if (backup) out.text(`Backup: ${tildePath(backup)}`, 2);
  }
}

export function sayNotes(out: Printer, { notes }: PlannedChange): void {
  for (const note of notes) out.note(note);
}

/** Whether only a key or a sign-in is missing. */
export const isBeforeLogin = (
  check: EntryTrial,
): check is Extract<EntryTrial, { outcome: 'refused' }> =>
  check.outcome === 'refused' &&
  (check.reason === 'no_api_key' || check.reason === 'sign_in_required');

export function sayCheck(out: Printer, check: EntryTrial, client: string): void {
  if (check.outcome === 'connected') {
    const { server, tools, hasMoreTools } = check;
    const count = hasMoreTools
      ? `more than ${tools} tools`
      : tools === 1
        ? '1 tool'
        : `${tools} tools`;
    out.marked('ok', `Connected: ${server || 'the gateway'} offers ${count}.`);
  } else if (check.outcome === 'not-fetched') {
    const why = `Could not test it: ${check.message}. ${client} cannot start it either until npm can download it. Install without --npx to start it without npm.`;
    out.note(why);
  } else {
    out.marked(
      isBeforeLogin(check) ? 'warn' : 'fail',
      check.outcome === 'refused' ? 'The gateway answered:' : 'It failed to start:',
    );
    out.remedy(check.message);
  }
}

/** A change as `--json` prints it, with `more`. */
export function changeAsJson(
  { client, name, file, change, diff, notes }: PlannedChange,
  written: boolean,
  backup: string | undefined,
  more: object,
): object {
  return {
    client: client.id,
    name,
    file,
    change,
    written: written && change !== 'unchanged',
    backup: backup ?? null,
    ...more,
    notes,
    diff: diff.map(({ sign, text }) => `${sign} ${text}`),
  };
}

/** A path as people write it. */
export function tildePath(path: string): string {
  const below = relative(homedir(), path);
  return below === '..' || /^\.\.[\\/]/.test(below) || isAbsolute(below) ? path : join('~', below);
}
