import { expect, test } from 'vitest';
import type { View } from '../src/lib/contract';
import { bySize, holds, isStronger } from '../src/lib/order';
import { conceptOf, targetOf, targetOfPlace } from '../src/lib/targets';

const concepts = { pattern: ['bold', null, null], detector: [null, 'warm', null] };
const row = (view: View, id: string, concept: number) => ({ view, id, concept });

test('an effect over all pairs is called by its pattern, its detector or its number', () => {
  expect(targetOf(row('pattern', 'pattern:0', 0), concepts)).toBe('pattern:bold');
  expect(targetOf(row('detector', 'detector:1', 1), concepts)).toBe('detector:warm');
  expect(targetOf(row('global', 'global:2', 2), concepts)).toBe('concept:2');
});

test('an effect on some pairs is called by its id, and a place by its kind', () => {
  expect(targetOf(row('group', 'group:12:2', 2), concepts)).toBe('group:12:2');
  expect(targetOfPlace({ kind: 'prompt', number: 3 })).toBe('prompt:3');
});

test('the concept of a target is the one that its text names', () => {
  const of = (text: string) => conceptOf(text, concepts);
  expect([of('pattern:bold'), of('detector:warm'), of('logit:warm'), of('concept:2'), of('global:2'), of('group:12:2')]).toEqual([0, 1, 1, 2, 2, 2]);
  expect([of('group:12'), of('source:2'), of('pattern:nothing'), of('pair:2'), of('pairs:2')]).toEqual([null, null, null, null, null]);
});

test('sure effects go before larger ones', () => {
  const rows = [{ sure: false, effect: 9 }, { sure: true, effect: -2 }, { sure: true, effect: 1 }];
  expect([...rows].sort(bySize).map((r) => r.effect)).toEqual([-2, 1, 9]);
  expect(isStronger(rows[0], null)).toBe(true);
  expect(isStronger(rows[0], rows[2])).toBe(false);
  expect(isStronger(rows[2], rows[2])).toBe(false);
});

test('a search takes any case, and nothing sought is everything', () => {
  expect(holds(['Bold Text'], 'bold')).toBe(true);
  expect(holds(['Bold Text'], 'LISTS')).toBe(false);
  expect(holds([], '')).toBe(true);
});
