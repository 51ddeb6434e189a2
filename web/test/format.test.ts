import { expect, test } from 'vitest';
import { amount, certain, inOrder, plain, prose, quoted, share, signed, snippet, visible } from '../src/lib/format';

test('a number has its sign, and never says more than was measured', () => {
  expect(signed(0.1234)).toBe('+0.123');
  expect(signed(-0.00456)).toBe('−0.0046');
  expect(signed(-0.00001)).toBe('0');
  expect(signed(null)).toBe('–');
  expect(plain(0.5)).toBe('0.5');
  expect(plain(-0.00001)).toBe('−1.0e−5');
});

test('an effect is in points of answers, a response shift in standard deviations', () => {
  expect(amount(0.296, '')).toBe('+29.6');
  expect(amount(-0.0002, '')).toBe('0');
  expect(amount(-0.304, 'sd')).toBe('−0.30 sd');
  expect(amount(0.004, 'sd')).toBe('0');
});

test('shares are per cent, and small ones are not none', () => {
  expect([share(0), share(0.0004), share(0.0123), share(0.995), share(-0.1), share(null)]).toEqual(['0 %', 'under 0.1 %', '1.2 %', '100 %', '−10 %', '–']);
});

test('certainty is never rounded up', () => {
  expect([certain(0.0004), certain(0.0019), certain(0.049), certain(0.4), certain(null)]).toEqual(['> 99.9 %', '99.8 %', '95.1 %', '60 %', '?']);
});

test('what cannot be seen is spelled out, and lines stay lines', () => {
  expect(visible('a\u202eb\n\u200bc')).toBe('a‹U+202E›b\n‹U+200B›c');
  expect(prose('5 % of')).toBe('5\u00a0% of');
  expect(quoted('“so”')).toBe('“so”');
  expect(quoted('so')).toBe('“so”');
  expect(snippet('x'.repeat(50), 10)).toBe('xxxxxxxxx…');
});

test('kinds stand in the order of the page, each once', () => {
  expect(inOrder(['shift_max', 'pattern', 'feature', 'pattern'])).toEqual(['pattern', 'feature', 'shift_max']);
});
