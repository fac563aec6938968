const CLOCK_CHECK_MS = 5_000;
/** A clock that jumped this far ahead means that the machine slept: its connections are dead. */
const SLEEP_MS = 10_000;

/** Calls `onWake` each time the machine has slept. Returns what ends the watch. */
export function watchForSleep(onWake: () => void): () => void {
  let before = Date.now();
  const clock = setInterval(() => {
    const gapMs = Date.now() - before;
    before = Date.now();
    if (gapMs > CLOCK_CHECK_MS + SLEEP_MS) onWake();
  }, CLOCK_CHECK_MS).unref();
  return () => clearInterval(clock);
}
