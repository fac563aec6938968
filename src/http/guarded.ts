/** What a listener threw: a failure of this program in itself. */
class Bug extends Error {
  readonly code = 'ERR_BUG';

  constructor(thrown: unknown) {
    super(thrown instanceof Error ? thrown.message : String(thrown));
    if (thrown instanceof Error && thrown.stack !== undefined) this.stack = thrown.stack;
  }
}

/** By its code: each bundle has a class of its own. */
export function isBug(error: Error): boolean {
  return (error as NodeJS.ErrnoException).code === 'ERR_BUG';
}

type Step<Args extends unknown[]> = (...args: Args) => void;
type Fail = (bug: Error) => void;

/** Listens to `event`; what `listener` throws is handed to `fail`, as `guarded` does. */
export function listen<Args extends unknown[]>(
  emitter: NodeJS.EventEmitter,
  event: string,
  listener: Step<Args>,
  fail: Fail,
): void {
  emitter.on(event, guarded(listener, fail) as Step<unknown[]>);
}

/**
 * A listener that hands what `step` throws to `fail`, as an error that `isBug`. Without it, Node.js
 * hands it to `uncaughtException`, which does not know the request that waits for the outcome.
 */
export function guarded<Args extends unknown[]>(step: Step<Args>, fail: Fail): Step<Args> {
  return (...args) => {
    try {
      step(...args);
    } catch (thrown) {
      fail(new Bug(thrown));
    }
  };
}
