/** Words and rows of a verification; its types are made of src/pretilt/view/site/contract.py. */

import type { Num, Verified } from './contract';
import { store } from './store.svelte';

export type {
  Cell, CellFigures, Dose, DoseOfConcept, JudgementReport as Judgement, ListedConcept as Listed, RungRow as Rung,
  SetReport as ConceptSet, VerificationReport as VerifiedReport, Verified, ViewCells as SetsOfPrompts,
} from './contract';

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
