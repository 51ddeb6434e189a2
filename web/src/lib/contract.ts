/** What the shards hold and what the server answers. Null means that a number is not defined.
 * Made by `python scripts/contract.py` from src/pretilt/view/site/contract.py: change that file. */

export const SCHEMA_VERSION = 1;
export const LEVELS: Level[] = ['sure', 'probably', 'unsure', 'unknown'];
export const OVER_ALL: View[] = ['pattern', 'detector', 'global'];
export const IN_GROUPS: View[] = ['group', 'pattern_group', 'detector_group'];
export type Num = number | null;
export type View = 'global' | 'group' | 'prompt_max' | 'prompt_freq' | 'pattern' | 'pattern_group' | 'detector' | 'detector_group';
export type Level = 'sure' | 'probably' | 'unsure' | 'unknown';
export type Turn = [string, string];
export type Fire = [number, number, number, number];
export type FiredShard = Record<string, [Fire[], Fire[]]>;
export type ScoreShard = Record<string, Scores>;
export type Patterns = Record<string, PatternFacts>;

/** Pairs that have a concept, by their place in pairs.parquet. */
export interface Scores {
  places: number[];
  u: number[];
}

export interface PatternFacts {
  title: string | null;
  counts: string | null;
  reads: string | null;
  expression: string | null;
  function: string | null;
}

/** What a page reads first. */
export interface Index {
  schema_version: number;
  pretilt: string;
  title: string;
  views: Partial<Record<View, ViewFacts>>;
  n_pairs: number;
  n_train: number;
  pairs_of_shard: number;
  concepts_of_shard: number;
  n_concepts: number;
  fired: number[];
  answers: AnswerShards | null;
  has: Has;
  is_text_alone: boolean;
  towards_verdict: string;
  files: string[];
  errors: string[];
}

export interface ViewFacts {
  rows: number;
  left_out: number;
  shards: number;
  of_shard: number;
}

export interface AnswerShards {
  roles: string[];
  shards: number;
}

export interface Has {
  forecast: boolean;
  verification: boolean;
  verifications: boolean;
  plans: boolean;
  doses: boolean;
  versus: boolean;
}

export interface Overview {
  title: string;
  opening: string[];
  read: Read;
  lens: SummaryLens;
  trust: Trust;
  preflight: Preflight;
  dropped: DroppedRows;
  lengths: Histogram;
  families: SummaryFamilies;
  sources: SourceRow[];
  doctor: Check[];
  files: Turn[];
  versions: Record<string, string>;
  settings: Record<string, unknown>;
  seconds: Record<string, number>;
  alike: Record<string, string[]>;
  notable: Notable[];
  lists: Record<string, string[]>;
}

export interface Read {
  format: string | null;
  rows_in: number;
  pairs: number;
  dropped: Record<string, number>;
  train: number;
  heldout: number;
  components: number;
  tokens: SummaryTokens;
  unit: 'tokens' | 'words';
  mean_length_difference: Num;
  share_chosen_longer: Num;
}

export interface SummaryTokens {
  prompt: number;
  chosen: number;
  rejected: number;
}

export interface SummaryLens {
  model?: string | null;
  layer?: number | null;
  dictionary?: string | null;
  n_features?: number | null;
  explained_variance?: Num;
  l0?: Num;
  measurement_id?: string | null;
}

export interface Trust {
  disparity: string;
  freq_threshold: number;
  share_one_firing_passes: Num;
  bundled_lens: boolean;
  baseline: string;
  paper: boolean;
  tested: Record<string, number>;
  shown: Record<string, number>;
  in_lists: Record<string, Record<string, number>>;
  folded: Record<string, Record<string, number>>;
  folded_sure: Record<string, Record<string, number>>;
  n_silent: number | null;
  n_tested: number;
  n_shown: number;
  sure: Record<string, number>;
  n_sure: number;
}

/** preflight.json. */
export interface Preflight {
  format: string;
  rows: Rows;
  pairs: PairCounts;
  duplicates: Duplicates;
  components: Components;
  families: Families;
  length_bias: LengthBias;
  scores: AuditScores;
  models: Models;
  chat_template_trouble: Record<string, number>;
  tokens: Tokens;
  max_length: number | null;
  notes: string[];
}

export interface Rows {
  read: number;
  kept: number;
  dropped: Record<string, number>;
}

export interface PairCounts {
  kept: number;
  train: number;
  heldout: number;
  plain_strings: number;
  truncated: number;
}

export interface Duplicates {
  pairs: number;
  prompts: number;
  contradicting_pairs: number;
}

export interface Components {
  count: number;
  largest: number;
  pairs_in_components_of_2_or_more: number;
}

export interface Families {
  n_pairs: number;
  n_families: number;
  share_in_families: number;
  largest: number;
  kish_n_eff: number;
  by_relation: Record<string, Relation>;
  notes: string[];
  straddling: number;
}

export interface Relation {
  meaning: string;
  links: number;
  pairs: number;
  largest: number;
  only_by_it: number;
}

/** Tokens of chosen minus tokens of rejected. */
export interface LengthBias {
  mean_chosen: Num;
  mean_rejected: Num;
  mean_difference: Num;
  standard_error: Num;
  share_chosen_longer: Num;
  share_equal: Num;
}

export interface AuditScores {
  known: number;
  disagree: number;
  equal: number;
}

export interface Models {
  known: number;
  combinations: number;
  table: ModelPair[];
  other: number;
}

export interface ModelPair {
  chosen: string | null;
  rejected: string | null;
  pairs: number;
}

export interface Tokens {
  prompt: number;
  chosen: number;
  rejected: number;
  prompt_content: number;
  chosen_content: number;
  rejected_content: number;
  read: number;
  content: number;
}

/** The first of them, and how many there are. */
export interface DroppedRows {
  n: number;
  rows: DroppedRow[];
}

export interface DroppedRow {
  row_index: number | null;
  reason: string | null;
  detail: string | null;
}

export interface Histogram {
  edges: number[];
  counts: number[];
}

export interface SummaryFamilies {
  n_pairs?: number | null;
  n_families?: number | null;
  share_in_families?: Num;
  largest?: number | null;
  kish_n_eff?: Num;
  straddling?: number | null;
}

/** The training pairs of one source, or by one model, alone. */
export interface SourceRow {
  column: 'source' | 'chosen_model' | 'rejected_model';
  value: string;
  n_pairs: number;
  n_families: number;
  length_difference: number;
  length_error: Num;
  share_chosen_longer: number;
  patterns: TaughtPattern[];
}

export interface TaughtPattern {
  pattern: string;
  name: string;
  delta: number;
  error: number;
  share_chosen: number;
  share_rejected: number;
}

/** One check of the doctor. */
export interface Check {
  name: string;
  verdict: 'green' | 'amber' | 'red' | 'not run';
  figure: number | number | string | null;
  threshold: string;
  meaning: string;
  what_to_do: string;
}

/** One of the three things to look at. */
export interface Notable {
  hypothesis_id: string;
  direction: 'amplify' | 'suppress';
  title: string;
  sentence: string;
  how_sure: string;
  cautions: string[];
  is_sure: boolean;
}

/** Columns by concept, in the order of concept_id; names as the audit gave them. */
export interface Concepts {
  concept_id: number[];
  kind: string[];
  pattern: (string | null)[];
  detector: (string | null)[];
  size: number[];
  name_kind: (string | null)[];
  name_score: Num[];
  n_pairs_active: Num[];
  prevalence: Num[];
  share_chosen: Num[];
  share_rejected: Num[];
  per_100_words: Num[];
  length_correlation: Num[];
  name: string[];
  vague: boolean[];
  unit: string[];
  phrases: string[][];
  contexts: string[][];
}

export interface Places {
  groups: GroupFacts[];
  prompt_concepts: PromptFacts[];
}

export interface GroupFacts {
  group_id: number;
  name: string;
  size: number;
  concept_ids: number[];
}

export interface PromptFacts {
  prompt_concept_id: number;
  statistic: string;
  name: string;
  size: number;
  phrases: string[];
}

/** Columns by pair, in the order of pairs.parquet. */
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

/** A column of few different texts; code -1 is none. */
export interface Coded {
  names: string[];
  codes: number[];
}

/** Columns of a shard of hypotheses.parquet, those that every page reads; the others by their names. */
export interface RowShard {
  hypothesis_id: string[];
  sure: boolean[];
  level: number[];
  where: number[];
  concept_id: number[];
  shown: boolean[];
  [column: string]: unknown[];
}

export interface WordShard {
  sentence: string[];
  how_sure: string[];
  cautions: string[][];
}

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

/** One prompt, answered before and after training: by role the text, and whether it ended by itself. */
export interface Answer {
  prompt: string;
  answers: Record<string, [string, boolean]>;
  harmful: boolean;
}

export interface Forecast {
  report: ForecastFigures;
  rows: ForecastRows;
}

export interface ForecastFigures {
  form: string;
  rung: string;
  rollouts: string | null;
  signs_known: number;
  auc_heldout: Num;
  written: string;
  sealed_before_training: boolean;
  sha256: string;
}

export interface ForecastRows {
  concept_id: number[];
  mean: Num[];
  one_step: Num[];
  converged: Num[];
  shift: Num[];
  shift_lo: Num[];
  shift_hi: Num[];
  rewarded: Num[];
  rewarded_lo: Num[];
  rewarded_hi: Num[];
  prevalence: Num[];
  prevalence_upper: Num[];
  needs_sft: (boolean | null)[];
  unclear: (boolean | null)[];
  shuffled: Num[];
}

/** A verification: its report, and by concept what was foretold by every rung and what was seen. */
export interface Verified {
  report: VerificationReport;
  rows: VerificationRows;
  rungs: Record<string, Num[]>;
  intervals: Record<string, Num[]>;
  cells: Record<string, Cell[]>;
}

/** verification.json, or verification-<name>.json. */
export interface VerificationReport {
  format_version: number;
  pretilt: string;
  name: string | null;
  before: string;
  after: string;
  draws: number;
  permutations: number;
  seed: number;
  source: string | null;
  measurement_id: string;
  verdict: Verdict;
  seal: SealReport;
  forecast: ForecastFacts;
  prompts: JudgedPrompts;
  models: ModelIdentities;
  length_drift: Num;
  nulls_from: string;
  sets: Record<string, SetReport>;
  cells: Record<string, ViewCells>;
  statements: Statement[];
  importance: Importance;
  training: TrainingSummary | null;
  doctor: Check[];
}

export interface Verdict {
  name: 'came true' | 'came partly true' | 'failed' | 'nothing can be said';
  sentence: string;
  text: string;
  set: string;
}

export interface SealReport {
  state: string;
  why: string;
  words: string;
}

export interface ForecastFacts {
  sha256: string | null;
  written: string | null;
  form: string;
  rung: string | null;
  cells_rung: string | null;
  rollouts: string | null;
  rollouts_disjoint: boolean | null;
}

export interface JudgedPrompts {
  judged: number;
  split: string;
  units: number;
  unpaired: number;
  per_prompt: number;
  before: RolloutCounts;
  after: RolloutCounts;
}

/** sampled = finished + cut = read + empty + dropped. */
export interface RolloutCounts {
  sampled: number;
  finished: number;
  cut: number;
  read: number;
  empty: number;
  dropped: Record<string, number>;
  truncated: number;
  retokenised: number;
}

export interface ModelIdentities {
  before: Record<string, string | null>;
  after: Record<string, string | null>;
}

/** One set of concepts; `judgement` and what follows from it are null or absent where there are too few. */
export interface SetReport {
  label: string;
  concepts: number;
  judgement: JudgementReport | null;
  table: RungRow[];
  scale?: Num;
  scale_lo?: Num;
  scale_hi?: Num;
  law_error?: Num;
  intervals_void?: string | null;
  coverage?: Coverage | null;
  against_shuffled?: Quantiles | null;
  labels?: LabelNull | null;
  hits: ListedConcept[];
  misses: ListedConcept[];
  can_be_said: boolean;
}

/** One forecast over one set of concepts, see `pretilt.verify.judge.Judgement`. */
export interface JudgementReport {
  overall: FigureReport;
  spearman: Num;
  sign_accuracy: Num;
  n_resolved: number;
  slope: Num;
  slope_lo: Num;
  slope_hi: Num;
  mean_error: Num;
  mean_error_of_zero: Num;
  without_top: FigureReport;
  permutation_p: Num;
  permutation_95: Num;
  nulls: Record<string, FigureReport>;
  beyond_nulls: FigureReport | null;
  standardised: FigureReport | null;
  per_prevalence: FigureReport | null;
  coverage: Record<string, Num>;
}

/** An R² with its ceiling. */
export interface FigureReport {
  r2: Num;
  rel_y: Num;
  rel_x: Num;
  n: number;
  reachable: Num;
  of_ceiling: Num;
}

/** A rung or a baseline, judged like the forecast. */
export interface RungRow {
  r2: Num;
  rel_y: Num;
  rel_x: Num;
  n: number;
  reachable: Num;
  of_ceiling: Num;
  name: string;
  kind: 'rung' | 'baseline';
  declared: boolean;
  spearman: Num;
  sign_accuracy: Num;
  n_resolved: number;
  slope: Num;
  slope_lo: Num;
  slope_hi: Num;
  permutation_p: Num;
}

/** Share of observed shifts inside their intervals; null where those are void. */
export interface Coverage {
  confidence: number;
  noise_alone: Num;
  even_prompts: Num;
  all_prompts: Num;
}

/** 2.5 %, 50 % and 97.5 %. */
export interface Quantiles {
  lo: Num;
  median: Num;
  hi: Num;
}

/** The R² beside those of forecasts from shuffled labels. */
export interface LabelNull {
  p: Num;
  draws: number;
  r2_95: Num;
}

export interface ListedConcept {
  concept_id: number;
  predicted: Num;
  expected: Num;
  lo: Num;
  hi: Num;
  observed: number;
  se: number;
  off_by_sd: Num;
  inside: boolean;
  sign_right: boolean | null;
}

/** Shifts on sets of prompts: inside the set minus outside of it, and inside alone. */
export interface ViewCells {
  sets: number;
  concepts: number;
  min_prompts: number;
  in_out: CellFigures | null;
  inside: CellFigures | null;
  inside_by_rung: Record<string, CellFigures | null>;
}

/** All cells, and the part of their variance between and within concepts. */
export interface CellFigures {
  overall: FigureReport;
  between: FigureReport;
  within: FigureReport;
  share_within: Num;
  judged_sets: number;
  without_forecast: number;
}

/** A claim that could have turned out false. */
export interface Statement {
  claim: string;
  test: string;
  figures: string;
  held: boolean | null;
}

/** The same answers under both models; `why` says what is missing. */
export interface Importance {
  kl?: Divergence | null;
  trusted_above?: Num;
  hindsight?: Record<string, Record<string, HindsightFigure>> | null;
  prompts?: number | null;
  trusted_prompts?: number | null;
  median_ess_share?: Num;
  why?: string | null;
  r2_of_forecast?: Num;
  r2_with_sampled?: Num;
}

export interface Divergence {
  of: string;
  value: Num;
  standard_error: Num;
  per_token: Num;
}

export interface HindsightFigure {
  r2: Num;
  rel_y: Num;
  rel_x: Num;
  n: number;
  reachable: Num;
  r2_with_forecast: Num;
}

export interface TrainingSummary {
  name: string;
  words: string;
  mean_weight: Num;
  mean_margin: Num;
  accuracy: Num;
  chosen_drift: Num;
  rms_log_ratio: Num;
  labels: ShuffledLabels | null;
  steps: number | null;
}

export interface ShuffledLabels {
  shuffled: boolean;
  seed: number;
}

export interface VerificationRows {
  concept_id: number[];
  predicted: Num[];
  observed: Num[];
  se: Num[];
  predictive_lo: Num[];
  predictive_hi: Num[];
  inside: (boolean | null)[];
  resolved: boolean[];
  sign_right: (boolean | null)[];
}

/** The shift of one concept on one set of prompts. */
export interface Cell {
  where: number;
  concept_id: number;
  predicted: Num;
  observed: Num;
  se: Num;
  n_prompts: number;
  sign_right: boolean | null;
}

/** A compiled plan; `outcome` where it was verified. */
export interface Plan {
  name: string;
  text: string;
  report: ShapeReport;
  what_if: WhatIfRows;
  outcome?: OutcomeReport | null;
  outcome_rows?: OutcomeRows | null;
}

/** shape.json. */
export interface ShapeReport {
  format_version: number;
  name: string;
  pairs_sha256: string;
  measurement_id: string | null;
  plan: Record<string, unknown>;
  form: string;
  rung: 'mean' | 'one_step' | 'converged';
  rollouts: string | null;
  eta: number;
  beta: number;
  needs_beta: boolean;
  draws: number;
  seed: number;
  items: ItemReport[];
  coverage: ShapeCoverage;
  sweep?: SweepPointReport[];
  effects: Record<string, FamilyEffects>;
  needs: string[];
  actions_sha256: string;
  sha256: string;
  written: string;
  sealed_before_training: boolean;
  pretilt: string;
}

/** One decision of the plan. Numbers of its concept are null for a set of pairs; shifts are of the declared rung. */
export interface ItemReport {
  number: number;
  decision: 'suppress' | 'amplify' | 'keep' | 'protect';
  target: string;
  name: string;
  gate: string | null;
  by: string | null;
  instruction: string | null;
  concept_id: number | null;
  pairs_inside: number;
  method: string | null;
  strength: Num;
  unit: string | null;
  share_wanted: Num;
  is_local: boolean;
  plain_inside: Num;
  shaped_inside: Num;
  reached: Num;
  reached_everywhere: Num;
  is_exhausted: boolean;
  pairs_touched: number;
  plain: Num;
  shaped: Num;
  change: Num;
  change_lo: Num;
  change_hi: Num;
  compared: CandidateReport[];
}

/** One method for an item, alone. */
export interface CandidateReport {
  method: string;
  strength: Num;
  reached: Num;
  is_exhausted: boolean;
  side_effect: Num;
  protected_effect: Num;
  pairs: number;
  needs: string;
  refusal: string;
}

/** What the actions touch. */
export interface ShapeCoverage {
  pairs: number;
  touched: number;
  dropped: number;
  left: number;
  weight_left: number;
  by_item: Record<string, number>;
  overlaps: Record<string, number>;
  conflicts: Record<string, number>;
  conflicting_pairs: string[];
}

/** One item at another strength, alone. */
export interface SweepPointReport {
  item: number;
  strength: number;
  reached: Num;
  side_effect: Num;
  protected_effect: Num;
  pairs: number;
  weight_left: number;
}

/** Changes of one family of concepts, targets aside. */
export interface FamilyEffects {
  concepts: number;
  sure: number;
  rms_change: Num;
  rms_plain: Num;
  reliability: Num;
}

export interface WhatIfRows {
  concept_id: number[];
  family: string[];
  role: string[];
  item: (number | null)[];
  plain: Num[];
  shaped: Num[];
  change: Num[];
  change_lo: Num[];
  change_hi: Num[];
  sure: (boolean | null)[];
  base_rate: Num[];
}

/** outcome.json. */
export interface OutcomeReport {
  format_version: number;
  pretilt: string;
  name: string;
  before: string;
  after: string;
  shaped: string;
  draws: number;
  seed: number;
  sealed_before_training: boolean;
  prompts: number;
  per_prompt: number;
  targets: TargetOutcome[];
  sets: Record<string, OutcomeOfSet>;
  utility: Partial<Record<'after' | 'shaped', Utility>>;
  length_drift: Partial<Record<'plain' | 'change', number>>;
}

/** One decision: what was intended, foretold and seen. Scores are means over the answers, rates for patterns. */
export interface TargetOutcome {
  number: number;
  decision: 'suppress' | 'amplify' | 'keep' | 'protect';
  target: string;
  name: string;
  method: string | null;
  strength: Num;
  prompts: number;
  is_inside: boolean;
  before: Num;
  plain: Num;
  shaped: Num;
  change_se: Num;
  outside_change: Num;
  outside_se: Num;
  share_wanted: Num;
  forecast_left: Num;
  forecast_left_everywhere: Num;
  left: Num;
  left_lo: Num;
  left_hi: Num;
  recovery: Num;
}

/** Of one family of concepts. */
export interface OutcomeOfSet {
  all: OutcomeFigures;
  off_target: OutcomeFigures;
}

/** How well the changes of some concepts were foretold. */
export interface OutcomeFigures {
  concepts: number;
  mean_change: Num;
  mean_noise: Num;
  resolved: number;
  r2: Num;
  rel_y: Num;
  spearman: Num;
  sign_accuracy: Num;
  slope: Num;
  coverage: Num;
}

/** Held-out pairs under one of the two models. */
export interface Utility {
  regime: string;
  pairs: number | null;
  accuracy: Num;
  mean_margin: Num;
  margin_se: Num;
}

export interface OutcomeRows {
  concept_id: number[];
  family: string[];
  role: string[];
  predicted: Num[];
  observed: Num[];
  se: Num[];
  resolved: boolean[];
  sign_right: (boolean | null)[];
  before: Num[];
  plain: Num[];
  shaped: Num[];
}

/** `label`: the detector's name and that of the curve. */
export interface Dose {
  format_version: number;
  detector: string;
  layer: number;
  residual_length: number;
  model: Record<string, string | null>;
  amounts: number[];
  prompts: number;
  per_prompt: number;
  target: DoseOfConcept;
  same: DoseOfConcept[];
  moved: DoseOfConcept[];
  finished: number[];
  tokens: number[];
  label: string;
}

/** One concept at all amounts. */
export interface DoseOfConcept {
  concept_id: number;
  name: string;
  points: DosePoint[];
  slope: Num;
  slope_se: Num;
}

/** One amount. Scores are means over the answers, rates for patterns and detectors. */
export interface DosePoint {
  amount: number;
  mean: Num;
  se: Num;
}

/** What people did to names; see `concepts/curation.py`. */
export interface Curation {
  names: Record<string, string>;
  pinned: number[];
  merged: Record<string, number>;
  values: Record<string, 'good' | 'bad'>;
}

/** The map: a point of every training pair, and x, y, radius of every group's disc; all 0 to 9999. */
export interface PairPlaces {
  x: number[];
  y: number[];
  discs: [number, number, number][];
  by_likeness: boolean;
}

/** A point of every concept, or of every group and then every prompt concept, 0 to 9999, y downwards. `n_pairs`: training pairs that the likeness was measured on. `n_alone`: points along the lower edge, like no other. */
export interface Spots {
  x: number[];
  y: number[];
  n_pairs: number;
  n_alone: number;
  by_likeness: boolean;
}

/** Two runs side by side. */
export interface Versus {
  report: VersusReport;
  rows: VersusRows;
}

/** `ComparisonReport` without its list; first is the run of the page. */
export interface VersusReport {
  first: ComparedRun;
  second: ComparedRun;
  pairs: SharedPairs;
  compared: number;
  kinds: Record<string, number>;
  first_alone: number;
  second_alone: number;
  features: string;
  sure: number;
  smallest: Num;
}

/** One of the two. */
export interface ComparedRun {
  path: string;
  source: string;
  model: string | null;
  pairs: number;
  concepts: number;
  has_forecast: boolean;
  has_verification: boolean;
}

/** Training pairs by where they stand. */
export interface SharedPairs {
  both: number;
  turned: number;
  first_alone: number;
  second_alone: number;
}

/** Columns of COMPARISON, sure rows first. */
export interface VersusRows {
  concept_id: number[];
  other_id: number[];
  kind: string[];
  name: string[];
  first: number[];
  first_error: Num[];
  second: number[];
  second_error: Num[];
  difference: number[];
  error: Num[];
  p_value: Num[];
  q_value: Num[];
  sure: boolean[];
  first_shift: Num[];
  first_shift_lo: Num[];
  first_shift_hi: Num[];
  second_shift: Num[];
  second_shift_lo: Num[];
  second_shift_hi: Num[];
  first_seen: Num[];
  first_seen_se: Num[];
  second_seen: Num[];
  second_seen_se: Num[];
}

/** The answer to a plan; `unread`: numbers of the items that the model has to read the pairs for. */
export interface WhatIf {
  concepts: WhatIfShifts;
  items: ItemOutcome[];
  coverage: Touched;
  unread: number[];
  text: string;
  seconds: number;
}

export interface WhatIfShifts {
  concept_id: number[];
  role: string[];
  plain: Num[];
  shaped: Num[];
  change: Num[];
}

export interface ItemOutcome {
  number: number;
  name: string;
  method: string | null;
  strength: Num;
  reached: Num;
  touched: number;
  inside: number;
}

export interface Touched {
  pairs: number;
  touched: number;
  dropped: number;
  weight_left: number;
  conflicts: Record<string, number>;
}

/** One method for an item, alone. */
export interface Candidate {
  method: string;
  strength: Num;
  reached: Num;
  is_exhausted: boolean;
  side_effect: Num;
  pairs: number;
  needs: string;
  refusal: string;
}

/** What a pasted answer or pair holds, and the training pairs that teach the same, and the contrary. */
export interface Pasted {
  patterns: PastedPattern[];
  same: AlikePair[];
  contrary: AlikePair[];
}

/** How often a pattern stands in the pasted answers. */
export interface PastedPattern {
  concept_id: number;
  chosen: number;
  rejected: number;
  u: number;
}

/** A training pair: its place, in how many of the patterns it goes along, and by how much. */
export interface AlikePair {
  pair: number;
  patterns: number;
  weight: number;
}

/** What the lens makes of a pasted prompt, answer or pair; concepts of features and detectors. */
export interface PastedReading {
  concepts: PastedConcept[];
  group: number | null;
  prompt_concepts: number[];
  truncated: boolean;
}

/** u of a pasted answer or pair, as the audit scores a pair. */
export interface PastedConcept {
  concept_id: number;
  u: number;
}
