/** What the shards of src/pretilt/view/site hold. Null means that a number is not defined. */

export const SCHEMA_VERSION = 1;
export type Num = number | null;
export type View =
  | 'global' | 'group' | 'prompt_max' | 'prompt_freq' | 'pattern' | 'pattern_group' | 'detector' | 'detector_group';
export type Level = 'sure' | 'probably' | 'unsure' | 'unknown';
export const LEVELS: Level[] = ['sure', 'probably', 'unsure', 'unknown'];
export const OVER_ALL: View[] = ['pattern', 'detector', 'global'];
export const IN_GROUPS: View[] = ['group', 'pattern_group', 'detector_group'];

export interface Index {
  schema_version: number;
  pretilt: string;
  title: string;
  views: Partial<Record<View, { rows: number; left_out: number; shards: number; of_shard: number }>>;
  n_pairs: number;
  n_train: number;
  pairs_of_shard: number;
  concepts_of_shard: number;
  n_concepts: number;
  answers: { roles: string[]; shards: number } | null;
  has: { forecast: boolean; verification: boolean; verifications: boolean; plans: boolean; doses: boolean };
  fired: number[];
  is_text_alone: boolean;
  files: string[];
  errors: string[];
}

export interface Check {
  name: string;
  verdict: 'green' | 'amber' | 'red' | 'not run';
  figure: number | string | null;
  threshold: string;
  meaning: string;
  what_to_do: string;
}

export interface SourceRow {
  column: 'source' | 'chosen_model' | 'rejected_model';
  value: string;
  n_pairs: number;
  n_families: number;
  length_difference: number;
  length_error: Num;
  share_chosen_longer: number;
  patterns: { pattern: string; name: string; delta: number; error: number; share_chosen: number; share_rejected: number }[];
}

export interface Notable {
  hypothesis_id: string;
  direction: 'amplify' | 'suppress';
  title: string;
  sentence: string;
  how_sure: string;
  cautions: string[];
  is_sure: boolean;
}

/** What was counted before any model read the pairs; any of it may be missing. */
export interface Preflight {
  length_bias?: { mean_difference: Num; standard_error: Num; share_chosen_longer: Num };
  families?: {
    n_pairs: number; n_families: number; share_in_families: Num; largest: number; kish_n_eff: Num; straddling?: number; notes?: string[];
    by_relation?: Record<string, { meaning: string; links: number; pairs: number; only_by_it: number; largest: number }>;
  };
  duplicates?: { pairs: number; prompts: number; contradicting_pairs: number };
  components?: { count: number };
  pairs?: { truncated: number };
  scores?: { known: number; disagree: number };
  models?: { table: { chosen: string | null; rejected: string | null; pairs: number }[]; other: number };
  chat_template_trouble?: Record<string, number>;
  notes?: string[];
}

export interface Overview {
  title: string;
  opening: string[];
  read: {
    format: string | null; rows_in: number; pairs: number; dropped: Record<string, number>; train: number;
    heldout: number; components: number; tokens: Record<'prompt' | 'chosen' | 'rejected', number>;
    unit: 'tokens' | 'words'; mean_length_difference: Num; share_chosen_longer: Num;
  };
  lens: { model?: string; layer?: number; dictionary?: string; n_features?: number; explained_variance?: Num; l0?: Num; measurement_id?: string };
  trust: {
    n_tested: number; n_shown: number; n_sure: number; tested: Record<string, number>; paper: boolean; baseline: string;
    bundled_lens: boolean; disparity: string; freq_threshold: number; share_one_firing_passes: Num; n_silent: number | null;
  };
  preflight: Preflight;
  dropped: { n: number; rows: { row_index: number | null; reason: string | null; detail: string | null }[] };
  seconds: Record<string, number>;
  alike: Record<string, string[]>;
  families: { n_families?: number; kish_n_eff?: Num; largest?: number };
  sources: SourceRow[];
  doctor: Check[];
  lengths: { edges: number[]; counts: number[] };
  files: [string, string][];
  versions: Record<string, string>;
  settings: Record<string, unknown>;
  notable: Notable[];
  lists: Record<string, string[]>;
}

export interface Concepts {
  concept_id: number[];
  kind: string[];
  pattern: (string | null)[];
  detector: (string | null)[];
  size: number[];
  name_kind: (string | null)[];
  name_score: Num[];
  n_pairs_active: Num[];
  share_chosen: Num[];
  share_rejected: Num[];
  per_100_words: Num[];
  length_correlation: Num[];
  name: string[];
  unnamed: boolean[];
  unit: string[];
  phrases: string[][];
  contexts: string[][];
}

export interface Places {
  groups: { group_id: number; name: string; size: number; concept_ids: number[] }[];
  prompt_concepts: { prompt_concept_id: number; statistic: string; name: string; size: number; phrases: string[] }[];
}

export interface Coded { names: string[]; codes: number[] }
export interface Facts {
  row_index: number[];
  family_id: number[];
  group_id: number[];
  train: boolean[];
  length: number[];
  source: Coded;
  chosen_model: Coded;
  rejected_model: Coded;
}

/** Columns of a shard of hypotheses.parquet. */
export interface RowShard {
  hypothesis_id: string[];
  sure: boolean[];
  level: number[];
  where: number[];
  concept_id: number[];
  shown: boolean[];
  [column: string]: unknown[];
}

export interface WordShard { sentence: string[]; how_sure: string[]; cautions: string[][] }

export type Turn = [role: string, text: string];
export interface PairTexts {
  pair_id: string;
  row: number;
  prompt: Turn[];
  chosen: Turn[];
  rejected: Turn[];
  chosen_score?: number;
  rejected_score?: number;
  harmful: boolean;
}
/** [turn, start, stop, strength in 0 … 1] */
export type Fire = [number, number, number, number];
/** Of one concept: place of a pair → what fires in chosen and in rejected. */
export type FiredShard = Record<string, [Fire[], Fire[]]>;
export type ScoreShard = Record<string, { places: number[]; u: number[] }>;

export interface Forecast {
  report: { form: string; rung: string; rollouts: string | null; signs_known: number; auc_heldout: Num; written: string; sealed_before_training: boolean; sha256: string };
  rows: Record<string, Num[]> & { concept_id: number[]; needs_sft: boolean[]; unclear: boolean[] };
}

export interface FigureReport { r2: Num; rel_y: Num; rel_x: Num; n: number; reachable: Num; of_ceiling: Num }
export interface PlanItem {
  number: number; decision: string; target: string; name: string; concept_id: number | null; pairs_inside: number;
  method: string | null; strength: Num; unit: string | null; reached: Num; pairs_touched: number; plain: Num;
  shaped: Num; change: Num; change_lo: Num; change_hi: Num;
}
export interface PlanCoverage {
  pairs: number; touched: number; dropped: number; left: number; weight_left: number;
  by_item: Record<string, number>; overlaps: Record<string, number>; conflicts: Record<string, number>;
}
export interface Plan {
  name: string;
  text: string;
  report: { items: PlanItem[]; coverage: PlanCoverage; needs: string[]; rung: string };
  what_if: Record<string, Num[]> & { concept_id: number[]; role: string[]; sure: (boolean | null)[] };
  outcome?: { targets: { number: number; name: string; decision: string; before: Num; plain: Num; shaped: Num; left: Num; recovery: Num; recovery_se: Num; forecast_left: Num }[] };
}

export interface Answer { prompt: string; answers: Record<string, [text: string, finished: boolean]>; harmful: boolean }
export interface Curation {
  names: Record<string, string>;
  pinned: number[];
  merged: Record<string, number>;
  values: Record<string, 'good' | 'bad'>;
}
export type Patterns = Record<string, { title: string; counts: string; reads: string; expression: string; function: string }>;
