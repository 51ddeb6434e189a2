/** Plans that were trained for the same wish, side by side. */

import type { Num, Plan } from './contract';
import { plain } from './format';

export interface FrontierRow {
  plan: string;
  isPlain: boolean; // training without any plan
  how: string;
  foretold: Num; // share of the plain shift that was foretold to be left
  left: Num;
  leftLo: Num; // its 95 % interval
  leftHi: Num;
  others: Num; // mean |change| of the patterns that were no target, a share of the answers
  pairs: number | null; // held-out ones that were looked at
  accuracy: Num; // share of the held-out pairs that the trained model tells as they are labelled
}

export interface FrontierGroup { key: string; decision: string; name: string; rows: FrontierRow[] }

/** One group for every target that at least two finished plans had as their only one; least left first. */
export function frontiers(plans: Plan[]): FrontierGroup[] {
  const groups = new Map<string, FrontierGroup>();
  for (const { name: plan, outcome } of plans) {
    const moved = outcome?.targets.filter((t) => t.decision === 'suppress' || t.decision === 'amplify') ?? [];
    if (!outcome || moved.length !== 1) continue;
    const [target] = moved;
    const key = `${target.decision} ${target.target} ${target.is_inside}`;
    const group = groups.get(key) ?? { key, decision: target.decision, name: target.name, rows: [] };
    if (!group.rows.length)
      group.rows.push({
        plan: '', isPlain: true, how: '', foretold: null, left: 1, leftLo: null, leftHi: null, others: null,
        pairs: outcome.utility.after?.pairs ?? null, accuracy: outcome.utility.after?.accuracy ?? null,
      });
    group.rows.push({
      plan, isPlain: false, how: [target.method, target.strength === null ? '' : plain(target.strength, 2)].filter(Boolean).join(' '),
      foretold: target.forecast_left, left: target.left, leftLo: target.left_lo, leftHi: target.left_hi,
      others: outcome.sets.patterns?.off_target.mean_change ?? null,
      pairs: outcome.utility.shaped?.pairs ?? null, accuracy: outcome.utility.shaped?.accuracy ?? null,
    });
    groups.set(key, group);
  }
  const order = (row: FrontierRow) => row.left ?? Infinity;
  return [...groups.values()].filter((g) => g.rows.length > 2).map((g) => ({ ...g, rows: [...g.rows].sort((a, b) => order(a) - order(b)) }));
}
