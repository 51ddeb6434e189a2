/** A verification and a dose and response as their shards hold them; see src/pretilt/reports and view/site/verified.py. */

import type { Check, FigureReport, Num } from './contract';
import { store } from './store.svelte';

export interface Rung extends FigureReport {
  name: string; kind: 'rung' | 'baseline'; declared: boolean; spearman: Num; sign_accuracy: Num; n_resolved: number;
  slope: Num; slope_lo: Num; slope_hi: Num;
}
export interface Listed {
  concept_id: number; predicted: Num; expected: Num; lo: Num; hi: Num; observed: number; se: number; off_by_sd: Num;
  inside: boolean; sign_right: boolean | null;
}
export interface Judgement {
  overall: FigureReport; spearman: Num; sign_accuracy: Num; n_resolved: number; slope: Num; without_top: FigureReport;
  permutation_p: Num; permutation_95: Num; nulls: Record<string, FigureReport>; beyond_nulls: FigureReport | null;
  standardised: FigureReport | null; per_prevalence: FigureReport | null;
}
export interface ConceptSet {
  label: string; concepts: number; judgement: Judgement | null; table: Rung[]; scale: Num; scale_lo: Num; scale_hi: Num;
  intervals_void: string | null; coverage: { confidence: number; noise_alone: Num; even_prompts: Num; all_prompts: Num } | null;
  against_shuffled: { lo: Num; median: Num; hi: Num } | null; labels: { p: Num; draws: number; r2_95: Num } | null;
  hits: Listed[]; misses: Listed[]; can_be_said: boolean;
}
export interface CellFigures { overall: FigureReport; between: FigureReport; within: FigureReport; judged_sets: number }
export interface SetsOfPrompts { sets: number; concepts: number; min_prompts: number; in_out: CellFigures | null; inside: CellFigures | null }
export interface Law extends FigureReport { r2_with_forecast: Num }
export interface VerifiedReport {
  name: string | null; before: string; after: string; source: string | null; measurement_id: string; pretilt: string;
  verdict: { name: string; sentence: string; text: string; set: string };
  seal: { state: string; why: string; words: string };
  forecast: { sha256: string | null; written: string | null; form: string; rung: string | null; cells_rung: string | null; rollouts: string | null };
  prompts: { judged: number; split: string; units: number; unpaired: number; per_prompt: number };
  length_drift: Num; nulls_from: string; sets: Record<string, ConceptSet>; cells: Record<string, SetsOfPrompts>;
  statements: { claim: string; test: string; figures: string; held: boolean | null }[];
  importance: {
    kl: { value: Num; per_token: Num } | null; hindsight: Record<string, Record<'first_order' | 'tilt', Law>> | null;
    prompts: number | null; trusted_prompts: number | null; why: string | null; r2_of_forecast: Num; r2_with_sampled: Num;
  };
  training: null | { name: string; words: string; mean_weight: Num; mean_margin: Num; chosen_drift: Num; rms_log_ratio: Num; labels: { shuffled?: boolean } | null; steps: number | null };
  doctor: Check[];
}
export interface Cell { where: number; concept_id: number; predicted: Num; observed: Num; se: Num; n_prompts: number; sign_right: boolean }
export interface Verified {
  report: VerifiedReport;
  rows: Record<string, Num[]> & { concept_id: number[]; inside: (boolean | null)[]; resolved: boolean[]; sign_right: (boolean | null)[] };
  rungs: Record<string, Num[]>;
  intervals: Record<string, Num[]>;
  cells: Record<string, Cell[]>;
}

export interface DoseOfConcept { concept_id: number; name: string; points: { amount: number; mean: Num; se: Num }[]; slope: Num; slope_se: Num }
export interface Dose {
  label: string; detector: string; layer: number; residual_length: number; amounts: number[]; prompts: number; per_prompt: number;
  target: DoseOfConcept; same: DoseOfConcept[]; moved: DoseOfConcept[]; finished: number[]; tokens: number[];
}

/** The kinds of concepts that a set holds. */
const SET_KINDS: Record<string, string[]> = {
  communities: ['community'], features: ['community', 'feature'], shift_max: ['shift_max'], shift_freq: ['shift_freq'],
  patterns: ['pattern'], detectors: ['detector'],
};
/** Places in the verification's rows of the concepts of a set. */
export function rowsOf(v: Verified, set: string): number[] {
  const kinds = SET_KINDS[set] ?? [];
  return v.rows.concept_id.flatMap((concept, i) => (kinds.includes(store.concepts!.kind[concept]) ? [i] : []));
}
export const unitOfSet = (set: string) => (set.startsWith('shift_') ? 'sd' : '');
export const VIEW_WORDS: Record<string, string> = {
  group: 'groups of pairs', prompt_max: 'prompts (max)', prompt_freq: 'prompts (freq)', pattern_group: 'groups, patterns',
  detector_group: 'groups, detectors',
};
export const BASELINE_WORDS: Record<string, string> = {
  zero: 'nothing moves', length: 'length alone', prevalence: 'prevalence alone', shuffled: 'shuffled labels',
};

/** A figure of at most 1 as people quote it: .83, −.02, 1.00. */
export const two = (value: Num | undefined) =>
  value === null || value === undefined ? '–' : `${value < 0 && Math.abs(value) >= 0.005 ? '−' : ''}${Math.abs(value).toFixed(2).replace(/^0/, '')}`;
