import type { KeyResult } from './key.ts';

/** Where the key comes from. */
export interface KeyProvider {
  /** Never rejects. */
  current(): Promise<KeyResult>;
  /** Another key than the one the gateway rejected, if the source has one by now. */
  renew(rejected: KeyResult): Promise<KeyResult | undefined>;
}
