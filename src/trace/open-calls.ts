/**
 * What is open at a time, oldest first. Not a Map: what has once been in one that is always changed
 * stays in memory until a full garbage collection, so that the small ones took three times as long.
 */
export class OpenCalls<Call extends object> {
  readonly #most: number;
  readonly #calls: Call[] = [];

  /** Of more than `most`, the oldest are forgotten. */
  constructor(most: number) {
    this.#most = most;
  }

  add(call: Call): void {
    this.#calls.push(call);
    if (this.#calls.length > this.#most) this.#removeAt(0);
  }

  /** The oldest that fits: with replies in the order of the requests, the search is a short one. */
  find(fits: (call: Call) => boolean): Call | undefined {
    return this.#calls.find(fits);
  }

  /** The newest that fits: for what has just been added. */
  findNewest(fits: (call: Call) => boolean): Call | undefined {
    return this.#calls.findLast(fits);
  }

  all(): readonly Call[] {
    return [...this.#calls];
  }

  /** False when it is not there. */
  remove(call: Call): boolean {
    const at = this.#calls.indexOf(call);
    if (at >= 0) this.#removeAt(at);
    return at >= 0;
  }

  /** As `splice`, which would make an array of what it removes. */
  #removeAt(first: number): void {
    const calls = this.#calls;
    for (let at = first + 1; at < calls.length; at++) calls[at - 1] = calls[at] as Call;
    calls.pop();
  }
}
