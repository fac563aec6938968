import type { Exchange } from './exchange.ts';

/** What one `send` is at, so that it can be ended. */
export interface Course {
  /** Nothing new is begun for it. */
  isOver: boolean;
  /** It renews the session, so it must not wait for that. */
  readonly isRenewal?: true;
  exchange?: Exchange;
  /** Ends a wait. */
  wake?: () => void;
}

/** Waits, unless the course is over or until it is. */
export function pause(milliseconds: number, course: Course): Promise<void> {
  if (course.isOver) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    course.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}
