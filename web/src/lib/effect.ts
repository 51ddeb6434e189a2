/** One effect, as the page holds it. */

import type { Level, Num, View } from './contract';

/** One hypothesis. */
export interface Effect {
  id: string;
  view: View;
  shard: number;
  at: number; // in the shard
  where: number;
  concept: number;
  delta: number;
  effect: number; // shrunken where it is known
  lo: Num;
  hi: Num;
  unit: string;
  sure: boolean;
  level: Level;
  shown: boolean;
  n_in: number;
  n_out: number;
  family_n: Num;
  n_eff: Num;
  mean_in: Num;
  mean_out: Num;
  ci_lo: Num;
  ci_hi: Num;
  z: Num;
  cohens_d: Num;
  delta_min: Num;
  lfsr: Num;
  q_value: Num;
  p_flip: Num;
  rank_stability: Num;
  delta_heldout: Num;
  delta_residual: Num;
  rank: number;
}

export const NUMBERS = [
  'n_in', 'n_out', 'family_n', 'n_eff', 'mean_in', 'mean_out', 'ci_lo', 'ci_hi', 'z', 'cohens_d', 'delta_min', 'lfsr',
  'q_value', 'p_flip', 'rank_stability', 'delta_heldout', 'delta_residual', 'rank',
] as const;

/** The rarely read statistics of a shard lie in typed arrays: 200,000 objects of 33 numbers would fill the memory. */
export class Row {
  declare columns: Record<string, Float64Array>;
  declare at: number;
}
for (const name of NUMBERS)
  Object.defineProperty(Row.prototype, name, {
    get(this: Row) {
      const value = this.columns[name][this.at];
      return Number.isNaN(value) ? null : value;
    },
  });
export const typed = (values: unknown[] | undefined, n: number) =>
  Float64Array.from(values ?? { length: n }, (value) => (typeof value === 'number' ? value : NaN));
