import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanNetworkText } from '../../src/failures/network-text.ts';
import { rounds } from '../property-rounds.ts';

describe('cleanNetworkText', () => {
  it.each<[what: string, text: string, clean: string]>([
    ['plain text', 'Key revoked. Ask your admin.', 'Key revoked. Ask your admin.'],
    ['any script', 'Schlüssel ungültig · 密钥无效 · ключ', 'Schlüssel ungültig · 密钥无效 · ключ'],
    ['line ends and tabs', 'a\r\nb\n\n\tc\vd\fe', 'a b c d e'],
    ['wide and odd spaces', 'a\u00a0\u3000b\u2028c\u2029d\u0085e \u2009 f', 'a b c d e f'],
    ['white space at the ends', ' \n a \t', 'a'],
    ['control characters', 'a\0b\x07c\x08d\x7fe\x9ff', 'abcdef'],
    ['colours', '\x1b[1;31mError:\x1b[0m bad \x9b32mkey\x9bm', 'Error: bad key'],
    ['cursor movements', 'safe\x1b[2K\x1b[1Gevil\x1b[?25l', 'safeevil'],
    ['a window title', '\x1b]0;pwned\x07ok\x1b]2;again\x1b\\ok\x9d0;c1\x9cok', 'okokok'],
    ['a hyperlink', '\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\', 'click'],
    ['a clipboard write', '\x1b]52;c;cm0gLXJmIC8=\x07done', 'done'],
    ['a device control string', '\x1bP1$r0m\x1b\\x', 'x'],
    ['short escapes', '\x1bcreset\x1b7\x1b(0', 'reset'],
    ['escapes within escapes', '\x1b\x1b[31m[31mx', '[31mx'],
    ['an escape that never ends', 'a\x1b[31', 'a[31'],
    ['bidirectional overrides', 'user\u202e\u2066 gnp.exe\u2069\u202c', 'user gnp.exe'],
    ['bidirectional marks', 'a\u200eb\u200fc\u061cd', 'abcd'],
    ['zero-width characters', 'pass\u200bwo\u2060rd\ufeff\u00ad\u180e\u034f', 'password'],
    ['a byte order mark between spaces', 'a \ufeff b\ufeffc', 'a bc'],
    ['a text hidden in tags', 'hi\u{e0069}\u{e0067}\u{e006e}\u{e007f}\u{e0001}!', 'hi!'],
    ['a text hidden in variation selectors', '😀\u{e0158}\u{e0155}\ufe00\ufe0f\ufe0f', '😀\ufe0f'],
    ['fillers that look like nothing', '\u3164\u115f\uffa0\u17b4x', 'x'],
    ['annotations', '\ufff9base\ufffanote\ufffb', 'basenote'],
    ['lone surrogates', 'a\ud83db\ude00c\ud83d', 'a\ufffdb\ufffdc\ufffd'],
    ['emoji', '👩‍💻 ❤️ ❤️‍🔥 👩🏽‍🚀 1️⃣ 🏳️‍🌈', '👩‍💻 ❤️ ❤️‍🔥 👩🏽‍🚀 1️⃣ 🏳️‍🌈'],
    ['Persian', 'می\u200cخواهم', 'می\u200cخواهم'],
    ['Hindi', 'क्\u200dष र्\u200dय', 'क्\u200dष र्\u200dय'],
    [
      'joiners where they join nothing',
      'pass\u200dword\u200c 👩\u200d \u200d👩 می\u200c\u200cخ',
      'password 👩 👩 میخ',
    ],
    ['nothing', '', ''],
    ['nothing that can be seen', '\x1b[31m\u200b\n\u202e \u200d', ''],
  ])('cleans %s', (_what, text, clean) => {
    expect(cleanNetworkText(text)).toBe(clean);
  });

  it('cuts at 500 characters and says so with an ellipsis', () => {
    expect(cleanNetworkText('x'.repeat(500))).toBe('x'.repeat(500));
    expect(cleanNetworkText('x'.repeat(501))).toBe(`${'x'.repeat(499)}…`);
    expect(cleanNetworkText(`${'x'.repeat(500)}\n \n`)).toBe('x'.repeat(500));
    expect(cleanNetworkText('abcdef', 4)).toBe('abc…');
    expect(cleanNetworkText('abc def', 5)).toBe('abc…');
    expect(cleanNetworkText('abc', 1)).toBe('…');
  });

  it('cuts no character in two', () => {
    expect(cleanNetworkText('ab😀cd', 4)).toBe('ab…');
    expect(cleanNetworkText('ab😀cd', 5)).toBe('ab😀…');
    expect(cleanNetworkText('ab👩\u200d👩cd', 6)).toBe('ab👩…');
    // 8,000 characters are looked at; the pair that this splits must not leave a half behind.
    expect(cleanNetworkText(`${'\x1b'.repeat(7998)}a😀`)).toBe('a…');
  });

  it('says that there is more when all that can be seen stands before what was not looked at', () => {
    expect(cleanNetworkText(`ok${' '.repeat(9000)}more`)).toBe('ok…');
    expect(cleanNetworkText(`${' '.repeat(9000)}more`)).toBe('');
  });

  it.each([
    '\x1b[',
    '\x1b]',
    '\x1bP',
    '\x9b1;',
    '\x9d',
    '\x1b',
    '1',
    ' ',
    '\u200d',
    '👩\u200d',
    '\ud83d',
    '\ufe0f',
    'م\u200c',
    '\n',
  ])('takes no time over 20 MB of %j', (piece) => {
    const text = piece.repeat(20_000_000 / piece.length);
    text.charCodeAt(10_000_000);
    const started = performance.now();
    const clean = cleanNetworkText(text);
    const took = performance.now() - started;
    expect(clean.length).toBeLessThanOrEqual(500);
    expect(took).toBeLessThan(1_000);
  });

  it('leaves a short line free of what cannot be seen, and cleaning it again changes nothing', () => {
    const nasty = fc.constantFrom(
      ...[
        '\x1b',
        '[',
        ']',
        '31m',
        '\x07',
        '\x9b',
        '\x9d',
        '\x9c',
        '\\',
        '\n',
        '\t',
        ' ',
        '\u0085',
        '\u2028',
      ],
      ...[
        '\u200d',
        '\u200c',
        '\ufe0f',
        '\ufe0e',
        '\u061c',
        '\u202e',
        '\ufeff',
        '\u200b',
        '\u{e0041}',
        '\u17b4',
      ],
      ...[
        '👩',
        '💻',
        '🏽',
        '❤',
        '1',
        'م',
        'क',
        '्',
        'a',
        'ab',
        '…',
        '\ud83d',
        '\udc69',
        '\u3164',
        '\0',
      ],
    );
    const text = fc.oneof(
      fc.array(nasty, { maxLength: 60 }).map((pieces) => pieces.join('')),
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc.string({ unit: 'grapheme', maxLength: 60 }),
    );
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 60 }), (text, maxCharacters) => {
        const clean = cleanNetworkText(text, maxCharacters);
        expect(clean.length).toBeLessThanOrEqual(maxCharacters);
        expect([...clean].filter(isUnseen)).toEqual([]);
        expect(clean).not.toMatch(/ {2}|^ | $/);
        expect(cleanNetworkText(clean, maxCharacters)).toBe(clean);
      }),
      { numRuns: rounds(5000) },
    );
  });

  it('leaves printable ASCII as it is but for its spaces', () => {
    const ascii = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
      maxLength: 400,
    });
    fc.assert(
      fc.property(ascii, (text) => {
        expect(cleanNetworkText(text)).toBe(text.split(' ').filter(Boolean).join(' '));
      }),
    );
  });
});

/** By code point, from the Unicode charts. */
function isUnseen(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  return (
    code < 0x20 ||
    (code >= 0x7f && code <= 0xa0) ||
    [
      0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029,
      0x3000, 0x3164, 0xfeff, 0xffa0,
    ].includes(code) ||
    (code >= 0x202a && code <= 0x202e) ||
    (code >= 0x2060 && code <= 0x206f) ||
    (code >= 0xd800 && code <= 0xdfff) ||
    (code >= 0xfff0 && code <= 0xfffb) ||
    (code >= 0xe0000 && code <= 0xe0fff)
  );
}
