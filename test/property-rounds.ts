/**
 * How many examples a property is tried with: `many` where the environment has `PROPERTY_ROUNDS=many`, or
 * else a tenth. Each run of the tests tries others.
 */
export function rounds(many: number): number {
  return process.env.PROPERTY_ROUNDS === 'many' ? many : many / 10;
}
