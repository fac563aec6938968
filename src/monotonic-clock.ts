/**
 * Milliseconds, with fractions, on a clock that no one can set. From the start of the process on.
 * `performance.now()` is the same, but its first use loads `node:perf_hooks`: 1 ms of each start.
 */
export const monotonicMs = (): number => process.uptime() * 1000;
