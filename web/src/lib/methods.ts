/** What a plan can ask for, and what it needs: pure functions, without the page. */

export type Decision = 'suppress' | 'amplify' | 'keep' | 'protect';

export interface Item {
  decision: Decision;
  target: string;
  name: string;
  method?: string;
  strength?: number;
  to?: string;
  gate?: string;
  by?: string;
  instruction?: string;
  note?: string;
}

interface Method {
  most: number; // largest strength that the slider offers
  step: number;
  start: number;
  unit: string;
  words: string;
  doubt?: string; // how far what-ifs of it were off when plans were trained
  sets?: boolean; // a set of pairs can be its target
  driven?: boolean; // another score can drive it
  tokens?: boolean; // it needs the model's tokens
}

const SHARE = { most: 1, step: 0.02, start: 0.25 };
export const METHODS: Record<string, Method> = {
  offset: { most: 5, step: 0.1, start: 1, unit: 'log-odds per unit of the score', words: 'counts part of the preference as explained', driven: true },
  drop: { ...SHARE, unit: 'share of the pairs that teach it', words: 'leaves pairs out', sets: true, driven: true },
  weight: { ...SHARE, unit: '1 − weight', words: 'lets pairs pull less', sets: true, driven: true },
  swap: { ...SHARE, unit: 'share of the pairs', words: 'exchanges chosen and rejected', sets: true, driven: true },
  rewrite: { ...SHARE, unit: 'share of the pairs', words: 'takes the pattern out of the text',
    doubt: 'What is gone from the text is foretold as not learned. Trained, 3 to 30 % of the shift was left where nothing should be.' },
  mask: { ...SHARE, unit: 'share of the pairs; every masked response is read again: slow', words: 'leaves the tokens out of the loss', driven: true, tokens: true,
    doubt: 'Masked tokens are foretold as gone. Trained, that was off by a quarter of the shift to three times it, and nothing that labels punish was brought back.' },
  inoculate: { ...SHARE, unit: 'share of the pairs', words: 'a sentence that asks for it stands before the prompt', tokens: true },
  'group-offset': { most: 5, step: 0.1, start: 1, unit: 'log-odds', words: 'a constant offset on the pairs', sets: true },
  'designed-offset': { ...SHARE, unit: "share of the target's shift", words: 'holds what is protected' },
  'steer-reference': { most: 2, step: 0.05, start: 0.1, unit: 'lengths of the residual stream', words: 'steers the reference', driven: true, tokens: true },
  'steer-policy': { most: 2, step: 0.05, start: 0.1, unit: 'lengths of the residual stream', words: 'steers the model while it trains', driven: true, tokens: true },
};

/** Of the run: was it read by a model, which detectors were fitted. */
export interface RunFacts { hasTokens: boolean; detectors: string[] }
/** What the target is: a pattern, a detector, or neither. */
export interface TargetFacts { isSet: boolean; pattern: string | null; detector: string | null }

const steers = (method: string) => method.startsWith('steer-');
export const isSet = (target: string) => /^(group:\d+$|prompt:|source:|chosen_model:|rejected_model:|pair:|pairs:)/.test(target);

/** What a method lacks to be used for an item, in one sentence; "" for nothing. */
export function lacking(method: string, decision: Decision, target: TargetFacts, run: RunFacts): string {
  const facts = METHODS[method];
  if (!facts) return '';
  if (target.isSet && !facts.sets) return 'needs a concept, and this is a set of pairs.';
  if (target.isSet && decision === 'amplify' && (method === 'drop' || method === 'swap')) return 'cannot amplify a set of pairs: what teaches against it is not in the set.';
  if (facts.tokens && !run.hasTokens) return 'needs the model’s tokens, and this run was audited without a model: audit with --model and --dictionary.';
  if (steers(method) && !run.detectors.length && !target.detector) return 'needs the direction of a detector, and this run has none: fit one with `pretilt detector RUN --name NAME`.';
  if (method === 'rewrite' && !target.pattern) return 'needs a pattern of the text, and this concept is none.';
  if (method === 'inoculate' && decision === 'amplify') return 'cannot amplify: it explains by a sentence what chosen responses show.';
  return '';
}

/** Scores that may drive a method, as `by` is written; "" is the concept's own. */
export function drivers(method: string, target: TargetFacts, run: RunFacts, patterns: string[]): string[] {
  if (!METHODS[method]?.driven) return [];
  const detectors = run.detectors.map((name) => `detector:${name}`);
  if (steers(method)) return [...(target.detector ? [''] : []), ...detectors];
  return ['', ...detectors, ...run.detectors.map((name) => `logit:${name}`), ...patterns.map((name) => `pattern:${name}`)];
}

/** What changes in an item when it takes another method; keys that are undefined go. */
export function withMethod(item: Item, method: string, target: TargetFacts, run: RunFacts): Partial<Item> {
  const none = { by: undefined, instruction: undefined, strength: undefined, to: undefined };
  if (method === 'auto') return { ...none, method, to: item.decision === 'suppress' ? 'base' : 'double' };
  const by = item.by && drivers(method, target, run, []).includes(item.by) ? item.by : undefined;
  const direction = steers(method) && !target.detector ? `detector:${run.detectors[0]}` : undefined;
  return {
    ...none, method, strength: METHODS[method].start, by: by ?? direction,
    instruction: method === 'inoculate' ? (item.instruction ?? `Answer with ${item.name}.`) : undefined,
  };
}

/** Where the shift may be asked to end, by decision. */
export const GOALS: Record<'suppress' | 'amplify', [string, string][]> = {
  suppress: [['base', 'to the untrained model’s rate'], ['half', 'half of its shift'], ['25%', 'a quarter of its shift']],
  amplify: [['double', 'twice its shift'], ['150%', 'half as much again'], ['base', 'what the labels punish: back to the untrained model’s rate']],
};

/** Goals in shares of answers: they need a plain training whose answers were read, and of a local target its prompts. */
export const MEASURED_GOALS: Record<'suppress' | 'amplify', [string, string][]> = {
  suppress: [['none', 'to no answer at all'], ['points', 'to so many points from the untrained model’s rate']],
  amplify: [['points', 'to so many points above the untrained model’s rate']],
};

/** The number of a goal in points; null for another goal. */
export function pointsOf(to: string | undefined): number | null {
  const match = /^([+-]?\d+(?:\.\d+)?) points$/.exec(to ?? '');
  return match ? Number(match[1]) : null;
}

/** A goal in points as a plan holds it. */
export const inPoints = (points: number) => `${points < 0 ? '' : '+'}${points} points`;

/** A gate in its parts: only there or everywhere but there, the kind of place ("" for none), and which. */
export interface Gate { isOutside: boolean; kind: string; value: string }

/** The parts of a gate as a plan holds it. */
export function gateOf(gate = ''): Gate {
  const isOutside = gate.startsWith('not:');
  const place = isOutside ? gate.slice(4) : gate;
  const colon = place.indexOf(':');
  return { isOutside, kind: place.slice(0, Math.max(colon, 0)), value: place.slice(colon + 1) };
}

/** A gate as a plan holds it; none of no kind. */
export const asGate = ({ isOutside, kind, value }: Gate) => (kind ? `${isOutside ? 'not:' : ''}${kind}:${value}` : undefined);

/** The items after a decision about a target; the same decision again takes it back. */
export function marked(items: Item[], decision: Decision, target: string, name: string): Item[] {
  const others = items.filter((item) => item.target !== target);
  if (items.some((item) => item.target === target && item.decision === decision)) return others;
  if (decision === 'keep' || decision === 'protect') return [...others, { decision, target, name }];
  return [...others, { decision, target, name, ...(isSet(target) ? { method: 'weight', strength: 0.5 } : { method: 'offset', strength: METHODS.offset.start }) }];
}

/** An item with some values changed; what is undefined goes. */
export function changed(item: Item, values: Partial<Item>): Item {
  return Object.fromEntries(Object.entries({ ...item, ...values }).filter(([, value]) => value !== undefined)) as unknown as Item;
}

/** The items as plan.yaml holds them: the decision is the key of the target. */
export const asWritten = (items: Item[]): Record<string, unknown>[] =>
  items.map(({ decision, target, name: _name, ...how }) => ({ [decision]: target, ...how }));
