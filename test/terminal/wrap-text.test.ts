import { describe, expect, it } from 'vitest';
import { wrapText } from '../../src/terminal/wrap-text.ts';

describe('wrapText', () => {
  it('wraps at spaces and indents each line', () => {
    expect(wrapText('one two three', 9, 2)).toBe('  one two\n  three');
  });

  it('leaves a word whole that is longer than a line', () => {
    expect(wrapText('see https://gateway.example/v1/mcp now', 10)).toBe(
      'see\nhttps://gateway.example/v1/mcp\nnow',
    );
  });

  it('counts two columns for a CJK character', () => {
    expect(wrapText('鍵鍵 鍵鍵 鍵鍵', 9)).toBe('鍵鍵 鍵鍵\n鍵鍵');
    expect(wrapText('鍵鍵 鍵鍵 鍵鍵', 8)).toBe('鍵鍵\n鍵鍵\n鍵鍵');
  });
});
