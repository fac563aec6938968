// The keychain's native module, in a process of its own: a call that waits for a prompt blocks a
// thread of its process, and process.exit() waits for its threads. Asked once, over IPC, it answers
// once and ends. Once its parent is gone, nothing waits for it, so it ends at once.
import { answer, type KeychainRequest } from './keychain-access.ts';

process.once('message', async (request: KeychainRequest) => {
  process.send?.(await answer(request), undefined, undefined, () => process.exit());
});
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
