import fc from 'fast-check';
import { expect, it } from 'vitest';
import { zip } from '../../src/install/mcpb/zip.ts';
import { unzip } from '../unzip.ts';

it('an archive has each file with its bytes, name and mode', () => {
  const file = fc.record({
    path: fc.string({ unit: 'grapheme', minLength: 1 }),
    content: fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    isExecutable: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.uniqueArray(file, { selector: ({ path }) => path }), (entries) => {
      const files = unzip(zip(entries));
      expect([...files.keys()]).toEqual(entries.map(({ path }) => path));
      for (const { path, content, isExecutable } of entries) {
        const mode = isExecutable ? 0o100755 : 0o100644;
        expect(files.get(path)).toEqual({ content, mode });
      }
    }),
  );
});
