import { expect, test } from 'vitest';
import { frontiers } from '../src/lib/frontier';
import type { Plan } from '../src/lib/contract';

const finished = (name: string, left: number | null, accuracy: number, targets = [{ decision: 'suppress', target: 'pattern:bold' }]) =>
  ({
    name, outcome: {
      targets: targets.map((t) => ({ ...t, name: 'bold text', is_inside: false, method: 'drop', strength: 0.5, forecast_left: 0.1, left, recovery_se: 0.02 })),
      sets: { patterns: { off_target: { mean_change: 0.012 } } },
      utility: { after: { accuracy: 0.7 }, shaped: { accuracy } },
    },
  }) as unknown as Plan;

test('plans for one wish stand together with plain training, least left first', () => {
  const [group, ...more] = frontiers([finished('a', 0.4, 0.66), finished('b', -0.1, 0.6), finished('c', null, 0.6)]);
  expect(more).toEqual([]);
  expect(group.rows.map((r) => r.plan)).toEqual(['b', 'a', '', 'c']);
  expect(group.rows[2]).toMatchObject({ isPlain: true, left: 1, accuracy: 0.7 });
  expect(group.rows[0]).toMatchObject({ how: 'drop 0.5', foretold: 0.1, others: 0.012, accuracy: 0.6 });
});

test('one plan alone, two targets at once, and what was not trained are not compared', () => {
  const two = [{ decision: 'suppress', target: 'pattern:bold' }, { decision: 'amplify', target: 'pattern:number' }];
  expect(frontiers([finished('a', 0.4, 0.66), finished('b', 0.4, 0.6, two), { name: 'c' } as Plan])).toEqual([]);
  const beside = [{ decision: 'suppress', target: 'pattern:bold' }, { decision: 'protect', target: 'pattern:number' }];
  expect(frontiers([finished('a', 0.4, 0.66), finished('b', 0.4, 0.6, beside)])[0].rows.length).toBe(3);
});
