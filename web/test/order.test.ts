import { expect, test } from 'vitest';
import { baseName, stacked } from '../src/lib/order';

test('what is named alike and goes the same way is one row, the first of them', () => {
  const entries = [['long #3', 1], ['kill', -1], ['long #12', 1], ['long', -1], ['long #5', 1], ['#hash', 1]] as const;
  const rows = stacked([...entries], ([name]) => name, ([, size]) => size > 0);
  expect(rows.map((r) => [r.entry[0], r.more])).toEqual([['long #3', 2], ['kill', 0], ['long', 0], ['#hash', 0]]);
  expect(baseName('words like "#", "building" #41')).toBe('words like "#", "building"');
});
