import fc from 'fast-check';

// CI sets PROPERTY_SEED: it tries the same examples for each change, so that only a change can make a test
// fail. Without it, each run tries others.
const { PROPERTY_SEED: seed } = process.env;
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });
