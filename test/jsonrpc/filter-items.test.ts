import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { filterItems } from '../../src/jsonrpc/filter-items.ts';
import { textIn } from '../../src/jsonrpc/json-members.ts';

/** What is left of `json` when the items that are named in `dropped` are left out. */
function without(json: string, ...dropped: string[]): string {
  const keeps = ([name]: readonly (Buffer | undefined)[]) => {
    const text = textIn(name);
    return text !== undefined && !dropped.includes(text);
  };
  return filterItems(Buffer.from(json), ['result', 'tools'], ['name'], keeps).toString();
}

const message = (tools: string) => `{"id": 1, "result" : {"a":[1], "tools" : ${tools} ,"n":1E400}}`;

describe('filterItems', () => {
  it('leaves out items at the beginning, in the middle and at the end', () => {
    const list = '[ {"name":"a"}, {"name":"b","n":1.0} ,{"name":"c"} ]';
    expect(without(message(list), 'a')).toBe(message('[ {"name":"b","n":1.0} ,{"name":"c"} ]'));
    expect(without(message(list), 'b')).toBe(message('[ {"name":"a"} ,{"name":"c"} ]'));
    expect(without(message(list), 'c')).toBe(message('[ {"name":"a"}, {"name":"b","n":1.0} ]'));
    expect(JSON.parse(without(message(list), 'a', 'b', 'c')).result.tools).toEqual([]);
  });

  it('returns the same buffer if nothing is left out', () => {
    const json = Buffer.from(message('[{"name":"a"}]'));
    expect(filterItems(json, ['result', 'tools'], ['name'], () => true)).toBe(json);
  });

  it('leaves out what is not an object, and what has no name', () => {
    const list = '[1,{"name":"a"},[{"name":"b"}],null,{"x":1},"s",{}]';
    expect(without(message(list))).toBe(message('[{"name":"a"}]'));
  });

  it('reads escaped names, and filters a repeated member each time', () => {
    const json = '{"result":{"t\\u006fols":[{"n\\u0061me":"\\u0061"}],"tools":[{"name":"a"}]}}';
    expect(without(json, 'a')).toBe('{"result":{"t\\u006fols":[],"tools":[]}}');
    expect(without('{"result":{"tools":[{"name":"a"}]},"result":{}}', 'a')).toBe(
      '{"result":{"tools":[]},"result":{}}',
    );
  });

  it('leaves other members of the same name alone', () => {
    const json = '{"tools":[{"name":"a"}],"result":{"x":{"tools":[{"name":"a"}]},"tools":7}}';
    expect(without(json, 'a')).toBe(json);
  });

  it('does what a filter of values does', () => {
    const item = fc.oneof(
      fc.record({ name: fc.constantFrom('a', 'b', 'c'), x: fc.jsonValue() }),
      fc.jsonValue(),
    );
    const space = fc.constantFrom('', ' ', '\t ');
    fc.assert(
      fc.property(fc.array(item), space, space, (items, before, after) => {
        const list = items.map((each) => `${before}${JSON.stringify(each)}${after}`).join(',');
        const kept = items.filter((each) =>
          ['a', 'c'].includes((each as { name?: string } | null)?.name as string),
        );
        const left = JSON.parse(
          filterItems(
            Buffer.from(`{"result":{"tools":[${list}]}}`),
            ['result', 'tools'],
            ['name'],
            ([name]) => ['a', 'c'].includes(textIn(name) as string),
          ).toString(),
        );
        expect(left).toEqual(JSON.parse(JSON.stringify({ result: { tools: kept } })));
      }),
    );
  });

  it('takes memory of one copy for a list of many tiny items', () => {
    const json = Buffer.from(`{"result":{"tools":[${'1,'.repeat(4_000_000)}1]}}`);
    const before = process.memoryUsage().heapUsed;
    const left = filterItems(json, ['result', 'tools'], ['name'], () => true);
    expect(left.toString()).toBe('{"result":{"tools":[]}}');
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
  });

  it('takes about as much CPU time for one list of 40 MB as for four lists of 10 MB', () => {
    const item = (name: string) => `{"name":"${name}","x":[${'"text",'.repeat(100)}1]}`;
    const pair = `${item('a')},${item('b')}`;
    const list = (bytes: number) => {
      const items = Array.from({ length: Math.ceil(bytes / pair.length) }, () => pair);
      return Buffer.from(`{"result":{"tools":[${items.join(',')}]}}`);
    };
    const [long, short] = [list(40e6), list(10e6)];
    const cpuMs = (json: Buffer, times: number) => {
      const before = process.cpuUsage();
      for (let time = 0; time < times; time++) {
        filterItems(json, ['result', 'tools'], ['name'], ([name]) => textIn(name) === 'a');
      }
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    let [one, four] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let round = 0; round < 5; round++) {
      one = Math.min(one, cpuMs(long, 1));
      four = Math.min(four, cpuMs(short, 4));
    }
    // Four where the time were that of the square of the length.
    expect(one / four).toBeLessThan(2);
  });
});
