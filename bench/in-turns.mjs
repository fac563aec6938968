/** Two sessions, compared so that whatever else the computer does meets them alike. */
import { callMany, handshake } from './session.mjs';

const callsInTurn = 1000;
const turns = 30;
/** In the first ones, V8 still compiles. */
const turnsToWarmUp = 10;

/** @param {number[]} figures @returns {number} */
export const median = (figures) =>
  /** @type {number} */ (figures.toSorted((a, b) => a - b)[figures.length >> 1]);

/**
 * The median of what `measure` finds of 1,000 calls, 64 in flight, in the second session by the same in
 * the first, in turns. Closes both.
 * @param {[import('./session.mjs').Session, import('./session.mjs').Session]} sessions
 * @param {(session: import('./session.mjs').Session, call: () => Promise<unknown>) => Promise<number>} measure `call` makes the calls
 * @returns {Promise<number>}
 */
export async function ratioInTurns([plain, other], measure) {
  /** @param {import('./session.mjs').Session} session @param {number} turn */
  const inTurn = (session, turn) =>
    measure(session, () =>
      callMany(session, { firstId: 1 + turn * callsInTurn, inFlight: 64, calls: callsInTurn }),
    );
  try {
    await handshake(plain);
    await handshake(other);
    /** @type {number[]} */
    const ratios = [];
    for (let turn = 0; turn < turns; turn++) {
      const isPlainFirst = turn % 2 === 0;
      const one = await inTurn(isPlainFirst ? plain : other, turn);
      const two = await inTurn(isPlainFirst ? other : plain, turn);
      if (turn >= turnsToWarmUp) ratios.push(isPlainFirst ? two / one : one / two);
    }
    return median(ratios);
  } finally {
    await plain.close();
    await other.close();
  }
}
