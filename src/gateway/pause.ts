/** What can be ended while it waits. */
interface Waiting {
  readonly isOver: boolean;
  /** Ends the wait. */
  wake?: () => void;
}

/** Waits, unless and until `waiting` is over. */
export function pause(milliseconds: number, waiting: Waiting): Promise<void> {
  if (waiting.isOver) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    waiting.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
