import { expect, test } from 'vitest';
import { METHODS, asGate, asWritten, changed, drivers, gateOf, inPoints, isSet, lacking, marked, pointsOf, withMethod, type Item } from '../src/lib/methods';

const TEXT = { hasTokens: false, detectors: [] };
const LENS = { hasTokens: true, detectors: ['warm'] };
const PATTERN = { isSet: false, pattern: 'bold', detector: null };
const CONCEPT = { isSet: false, pattern: null, detector: null };
const SET = { isSet: true, pattern: null, detector: null };
const item: Item = { decision: 'suppress', target: 'pattern:bold', name: 'bold text', method: 'offset', strength: 2, by: 'logit:warm' };

test('a plan is written with the decision as the key, and without the names of the page', () => {
  expect(asWritten([{ ...item, gate: 'group:2' }, { decision: 'keep', target: 'concept:3', name: 'x' }])).toEqual([
    { suppress: 'pattern:bold', method: 'offset', strength: 2, by: 'logit:warm', gate: 'group:2' }, { keep: 'concept:3' },
  ]);
});

test('the same decision again takes it back, another takes its place', () => {
  const once = marked([], 'suppress', 'pattern:bold', 'bold text');
  expect(once).toMatchObject([{ method: 'offset', strength: 1 }]);
  expect(marked(once, 'suppress', 'pattern:bold', 'bold text')).toEqual([]);
  expect(marked(once, 'protect', 'pattern:bold', 'bold text')).toEqual([{ decision: 'protect', target: 'pattern:bold', name: 'bold text' }]);
  expect(marked([], 'suppress', 'group:12', 'a group')).toMatchObject([{ method: 'weight', strength: 0.5 }]);
});

test('sets of pairs are told from effects on them', () => {
  expect(['group:12', 'prompt:3', 'source:x', 'pairs:a.txt'].every(isSet)).toBe(true);
  expect(['group:12:7', 'prompt_max:3:9', 'pattern:bold', 'concept:7', 'pattern_group:1:2'].some(isSet)).toBe(false);
});

test('a method says what it lacks', () => {
  const lackingOf = (target: typeof SET, run: typeof LENS, decision: Item['decision'] = 'suppress') =>
    Object.keys(METHODS).filter((method) => lacking(method, decision, target as never, run));
  expect(lackingOf(PATTERN as never, TEXT as never)).toEqual(['mask', 'inoculate', 'steer-reference', 'steer-policy']);
  expect(lackingOf(PATTERN as never, LENS)).toEqual([]);
  expect(lackingOf(PATTERN as never, LENS, 'amplify')).toEqual(['inoculate']);
  expect(lackingOf(CONCEPT as never, LENS)).toEqual(['rewrite']);
  expect(Object.keys(METHODS).filter((method) => !lacking(method, 'amplify', SET, LENS))).toEqual(['weight', 'group-offset']);
  expect(lacking('steer-policy', 'suppress', PATTERN, { hasTokens: true, detectors: [] })).toContain('this run has none');
});

test('only a direction drives steering, and what no score drives has no choice', () => {
  expect(drivers('steer-policy', PATTERN, LENS, ['bold'])).toEqual(['detector:warm']);
  expect(drivers('drop', PATTERN, LENS, ['bold'])).toEqual(['', 'detector:warm', 'logit:warm', 'pattern:bold']);
  expect(drivers('rewrite', PATTERN, LENS, ['bold'])).toEqual([]);
});

test('another method keeps what it can use and drops the rest', () => {
  const to = (method: string) => changed(item, withMethod(item, method, PATTERN, LENS));
  expect(to('drop')).toMatchObject({ method: 'drop', strength: 0.25, by: 'logit:warm' });
  expect(to('rewrite')).not.toHaveProperty('by');
  expect(to('steer-policy').by).toBe('detector:warm');
  expect(to('inoculate').instruction).toBe('Answer with bold text.');
  expect(to('auto')).toMatchObject({ method: 'auto', to: 'base' });
  expect(to('auto')).not.toHaveProperty('strength');
});

test('a gate begins with its kind', () => {
  expect(gateOf(undefined).kind).toBe('');
  expect(gateOf('source:a:b')).toEqual({ isOutside: false, kind: 'source', value: 'a:b' });
  expect(gateOf('not:group:3')).toEqual({ isOutside: true, kind: 'group', value: '3' });
  expect(['group:3', 'not:source:a:b'].map((gate) => asGate(gateOf(gate)))).toEqual(['group:3', 'not:source:a:b']);
  expect(asGate(gateOf(undefined))).toBeUndefined();
});

test('a goal in points is written as a plan holds it, and read back', () => {
  expect([inPoints(5), inPoints(-2.5), inPoints(0)]).toEqual(['+5 points', '-2.5 points', '+0 points']);
  expect([pointsOf('+5 points'), pointsOf('-2.5 points'), pointsOf('half'), pointsOf('25%'), pointsOf(undefined)]).toEqual([5, -2.5, null, null, null]);
});
