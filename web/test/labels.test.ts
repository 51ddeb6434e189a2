import { expect, test } from 'vitest';
import { placed, type Label } from '../src/lib/labels';

const BOX = { left: 0, right: 300, top: 0, bottom: 100 };
const label = (text: string, x: number, y: number, weight: number, width = 50): Label => ({ text, x, y, width, weight });
const texts = (labels: Label[], most?: number) => placed(labels, BOX, most).map((drawn) => drawn.text);

test('of two that would overlap the larger is drawn', () => {
  expect(texts([label('small', 250, 50, 1, 120), label('large', 245, 52, 2, 120)])).toEqual(['large']);
  expect(texts([label('small', 40, 20, 1), label('large', 40, 60, 2)])).toEqual(['large', 'small']);
});

test('a label covers no other point', () => {
  expect(placed([label('a', 100, 50, 2), label('b', 130, 50, 1, 500)], BOX)).toEqual([{ text: 'a', left: 44, top: 43.5 }]);
});

test('a label goes to the left where the right has no room', () => {
  expect(placed([label('a', 280, 50, 1)], BOX)).toEqual([{ text: 'a', left: 224, top: 43.5 }]);
  expect(placed([label('a', 280, 50, 2), label('b', 210, 50, 1)], BOX)[1]).toEqual({ text: 'b', left: 154, top: 43.5 });
});

test('what does not fit is left out, and so is what passes the most', () => {
  expect(texts([label('wide', 10, 50, 1, 400), label('high', 10, 2, 1)])).toEqual([]);
  expect(texts([label('a', 10, 20, 1), label('b', 10, 50, 3), label('c', 10, 80, 2)], 2)).toEqual(['b', 'c']);
});

test('a label begins past the edge of a large point', () => {
  expect(placed([{ ...label('a', 100, 50, 1), radius: 8 }], BOX)).toEqual([{ text: 'a', left: 110, top: 43.5 }]);
});
