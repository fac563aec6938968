// The keychain, by its native module. Its calls wait for prompts, each in a thread of this process.
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keychainModule } from './keychain-module.ts';

const require = createRequire(import.meta.url);

const SERVICE = 'mcp-latchkey';

export type KeychainRequest =
  | ({ readonly operation: 'get' } & Wanted)
  /** Stores the key unless there is one: the one that is there. */
  | { readonly operation: 'keep'; readonly account: string; readonly key: string }
  | { readonly operation: 'set'; readonly account: string; readonly key: string }
  | { readonly operation: 'delete'; readonly account: string }
  | { readonly operation: 'list' };

/** `beside`: another account whose key is needed as well. */
interface Wanted {
  readonly account: string;
  readonly near?: string;
  readonly beside?: string;
}

/** What `get` finds: the key, or whether there is one for the account `near`. */
export interface KeyOrNear {
  readonly key: string | null;
  readonly isNear: boolean;
  /** The key of the account `beside`. */
  readonly beside?: string | null;
}

/** `message` is the system's own, as it is. */
export type KeychainReply =
  | { readonly kind: 'done'; readonly value: unknown }
  | { readonly kind: 'not-loaded' | 'failed'; readonly message: string };

/** Asks the keychain. Never rejects. */
export async function answer(request: KeychainRequest): Promise<KeychainReply> {
  // This file is in the package's dist/.
  const folder = keychainModule(dirname(dirname(fileURLToPath(import.meta.url))));
  if (folder === undefined) return { kind: 'not-loaded', message: "Cannot find module 'keytar'" };
  let keytar: typeof import('keytar');
  try {
    keytar = require(folder);
  } catch (error) {
    return { kind: 'not-loaded', message: whyNotLoaded(folder) ?? messageOf(error) };
  }
  try {
    return { kind: 'done', value: await run(request, keytar) };
  } catch (error) {
    return { kind: 'failed', message: messageOf(error) };
  }
}

async function run(request: KeychainRequest, keytar: typeof import('keytar')): Promise<unknown> {
  switch (request.operation) {
    case 'get':
      return find(request, keytar);
    case 'keep': {
      const { key } = await find({ account: request.account }, keytar);
      if (key !== null) return key;
      await keytar.setPassword(SERVICE, request.account, request.key);
      return keytar.getPassword(SERVICE, request.account);
    }
    case 'set':
      return keytar.setPassword(SERVICE, request.account, request.key);
    case 'delete':
      return keytar.deletePassword(SERVICE, request.account);
    case 'list':
      return keytar.findCredentials(SERVICE);
  }
}

async function find(
  { account, near, beside }: Wanted,
  keytar: typeof import('keytar'),
): Promise<KeyOrNear> {
  const key = await keytar.getPassword(SERVICE, account);
  const other = beside === undefined ? null : await keytar.getPassword(SERVICE, beside);
  // With either, no one asks what else may be there.
  if (key !== null || other !== null) return { key, isNear: false, beside: other };
  // A crash would end more than a child in Electron.
  if (process.platform !== 'linux' || process.versions.electron !== undefined) {
    return {
      key,
      isNear: near !== undefined && (await keytar.getPassword(SERVICE, near)) !== null,
    };
  }
  // libsecret finds nothing as well when the entry's keyring is locked and stays so. Then
  // keytar's findCredentials crashes (7.10.6, strdup of a null secret): the parent can tell.
  const entries = await keytar.findCredentials(SERVICE);
  const passwordOf = (own: string | undefined) =>
    entries.find((entry) => entry.account === own)?.password ?? null;
  return {
    key: passwordOf(account),
    isNear: passwordOf(near) !== null,
    beside: passwordOf(beside),
  };
}

/** The loader's own words, such as a library that is missing: keytar swallows them. */
function whyNotLoaded(folder: string): string | undefined {
  try {
    require(join(folder, 'prebuilds', `${process.platform}-${process.arch}`, 'keytar.node'));
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
