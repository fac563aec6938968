// The keychain's native module, in a process of its own: a call that waits for a prompt blocks a
// thread of its process, and process.exit() waits for its threads. It answers what it is asked over
// IPC, until its parent ends it. Once its parent is gone, nothing waits for it, so it ends at once.
import { answer, type KeychainAnswered, type KeychainQuestion } from './keychain-access.ts';

process.on('message', async ({ id, request }: KeychainQuestion) => {
  process.send?.({ id, reply: await answer(request) } satisfies KeychainAnswered);
});
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
