/** The run as the page knows it, and where in it the reader is. The place is the URL's hash: every place has a link. */

import type {
  Concepts, Curation, Facts, Forecast, Index, Num, Overview, PairPlaces, Places, Plan, RowShard, ScoreShard, Scores, Versus,
  View, WordShard,
} from './contract';
import { IN_GROUPS, LEVELS, OVER_ALL, SCHEMA_VERSION } from './contract';
import { NUMBERS, Row, typed, type Effect } from './effect';
import type { Dose, Verified } from './verified';
import { forget, hasServer, load, numbered, rowsName, saveCuration, wordsName } from './data';

export type { Effect };

const MOST_SHARDS = 64; // of u that are read for one pair

export interface RankedPair { pair: number; u: number; share: number; inside: boolean }

export interface Place { kind: 'group' | 'prompt'; number: number; name: string; size: number; views: View[]; phrases: string[] }

class Store {
  index = $state.raw<Index | null>(null);
  overview = $state.raw<Overview | null>(null);
  concepts = $state.raw<Concepts | null>(null);
  places = $state.raw<Place[]>([]);
  facts = $state.raw<Facts | null>(null);
  forecast = $state.raw<Forecast | null>(null);
  verification = $state.raw<Verified | null>(null);
  verifications = $state.raw<Verified[]>([]); // those with names
  doses = $state.raw<Dose[]>([]);
  plans = $state.raw<Plan[]>([]);
  versus = $state.raw<Versus | null>(null);
  curation = $state.raw<Curation>({ names: {}, pinned: [], merged: {}, values: {} });
  effects = $state.raw<Map<View, Effect[]>>(new Map());
  error = $state('');
  loaded = $state(0); // shards of hypotheses
  toLoad = $state(0);
  private members: Record<string, number[]> | null = null;
  private memberSets = new Map<number, Set<number>>();
  private byId = new Map<string, Effect>();
  private byConcept = new Map<View, Map<number, Effect[]>>();
  private byPlace = new Map<View, Map<number, Effect[]>>();
  private loading: Promise<void> | null = null;
  private silent = 0;

  async start() {
    try {
      const index = await load<Index>('index');
      if (index.schema_version !== SCHEMA_VERSION)
        throw new Error(`these data have format ${index.schema_version}, this page reads ${SCHEMA_VERSION}: write the site again`);
      const [overview, concepts, places, curation] = await Promise.all([
        load<Overview>('overview'), load<Concepts>('concepts'), load<Places>('places'), load<Curation>('curation'),
      ]);
      if (index.has.forecast) this.forecast = await load<Forecast>('forecast');
      if (index.has.verification) this.verification = await load<Verified>('verification');
      if (index.has.verifications) this.verifications = await load<Verified[]>('verifications');
      if (index.has.doses) this.doses = await load<Dose[]>('doses');
      if (index.has.versus) this.versus = await load<Versus>('versus');
      if (index.has.plans) this.plans = await load<Plan[]>('plans');
      this.concepts = concepts;
      this.curation = curation;
      this.places = [
        ...places.groups.map((g): Place => ({ kind: 'group', number: g.group_id, name: g.name, size: g.size, views: IN_GROUPS, phrases: [] })),
        ...places.prompt_concepts.map((p): Place => ({
          kind: 'prompt', number: p.prompt_concept_id, name: p.name, size: p.size,
          views: [p.statistic === 'max' ? 'prompt_max' : 'prompt_freq'], phrases: p.phrases,
        })),
      ];
      for (const view of OVER_ALL) await this.loadView(view, index);
      this.overview = overview;
      this.index = index;
    } catch (error) {
      this.error = (error as Error).message;
    }
  }

  private async loadView(view: View, index: Index) {
    const facts = index.views[view];
    if (!facts || this.effects.has(view)) return;
    const rows: Effect[] = [];
    for (let i = 0; i < facts.shards; i++) {
      const shard = await load<RowShard>(rowsName(view, i));
      rows.push(...this.effectsOf(view, i, shard));
      forget(rowsName(view, i));
      this.loaded++;
    }
    const concepts = new Map<number, Effect[]>(), places = new Map<number, Effect[]>();
    const put = (map: Map<number, Effect[]>, key: number, row: Effect) => {
      const list = map.get(key);
      if (list) list.push(row);
      else map.set(key, [row]);
    };
    for (const row of rows) {
      this.byId.set(row.id, row);
      put(concepts, row.concept, row);
      put(places, row.where, row);
    }
    this.byConcept.set(view, concepts);
    this.byPlace.set(view, places);
    this.effects = new Map(this.effects).set(view, rows);
  }

  /** Everything that was tested in groups and on prompts, loaded once. */
  loadPlaces(): Promise<void> {
    this.loading ??= (async () => {
      const index = this.index!;
      const views = (Object.keys(index.views) as View[]).filter((view) => !OVER_ALL.includes(view));
      this.toLoad = views.reduce((n, view) => n + index.views[view]!.shards, 0);
      this.loaded = 0;
      try {
        for (const view of views) await this.loadView(view, index);
      } catch (error) {
        this.error = (error as Error).message;
      }
      this.toLoad = 0;
      // Read ahead from a folder, where it is there already; a server would have to compute it. Who draws it names a failure.
      if (!hasServer) load<PairPlaces>('map').catch(() => {});
    })();
    return this.loading;
  }

  private effectsOf(view: View, shard: number, columns: RowShard): Effect[] {
    const unit = this.concepts!.unit;
    const posterior = columns.posterior_delta as Num[];
    const statistics = Object.fromEntries(NUMBERS.map((name) => [name, typed(columns[name], columns.hypothesis_id.length)]));
    return columns.hypothesis_id.map((id, at) => {
      const concept = columns.concept_id[at];
      const shrunk = posterior[at];
      return Object.assign(new Row(), {
        columns: statistics, id, view, shard, at, concept, where: columns.where[at], unit: unit[concept],
        delta: columns.delta[at] as number,
        effect: shrunk ?? (columns.delta[at] as number),
        lo: (shrunk === null ? columns.ci_lo : columns.posterior_lo)[at] as Num,
        hi: (shrunk === null ? columns.ci_hi : columns.posterior_hi)[at] as Num,
        sure: columns.sure[at], level: LEVELS[columns.level[at]], shown: columns.shown[at],
      }) as unknown as Effect;
    });
  }

  get leftOut(): number {
    return Object.values(this.index?.views ?? {}).reduce((n, view) => n + (view?.left_out ?? 0), 0);
  }

  effect(id: string): Effect | undefined {
    return this.byId.get(id);
  }

  /** All effects of a concept, those over all pairs first. */
  ofConcept(concept: number): Effect[] {
    const rows: Effect[] = [];
    for (const view of [...OVER_ALL, 'group', 'pattern_group', 'detector_group', 'prompt_max', 'prompt_freq'] as View[])
      if (this.effects.has(view)) rows.push(...(this.byConcept.get(view)?.get(concept) ?? []));
    return rows;
  }

  ofPlace(place: Place): Effect[] {
    return place.views.flatMap((view) => (this.effects.has(view) ? (this.byPlace.get(view)?.get(place.number) ?? []) : []));
  }

  overAll(): Effect[] {
    return OVER_ALL.flatMap((view) => this.effects.get(view) ?? []);
  }

  name(concept: number): string {
    const leader = this.curation.names[concept] ? undefined : this.curation.merged[concept];
    return leader === undefined ? this.ownName(concept) : `${this.ownName(leader)} (${this.ownName(concept)})`;
  }

  /** Nobody could decide about it by its name: lists fold it, unless somebody named or pinned it. */
  isFolded(concept: number): boolean {
    return this.concepts!.vague[concept] && !this.curation.names[concept] && !this.curation.pinned.includes(concept);
  }

  /** Without the name of the concept that it stands under. */
  ownName(concept: number): string {
    return this.curation.names[concept] || this.concepts!.name[concept] || `concept ${concept}`;
  }

  /** Effects over all pairs that another one stands for: they say the same. */
  private readonly led = $derived(new Map(Object.entries(this.overview?.alike ?? {}).flatMap(([leader, ids]) => ids.map((id): [string, string] => [id, leader]))));

  leaderOf(id: string): string | undefined {
    return this.led.get(id);
  }

  /** Concepts that say the same over all pairs: those it stands for, or the one that stands for it. */
  alike(concept: number): { id: string; leads: boolean; concepts: number[] }[] {
    const conceptsOf = (ids: string[]) => ids.flatMap((id) => this.byId.get(id)?.concept ?? []);
    return this.ofConcept(concept).filter((row) => OVER_ALL.includes(row.view)).flatMap((row): { id: string; leads: boolean; concepts: number[] }[] => {
      const leader = this.led.get(row.id), others = this.overview?.alike[row.id];
      if (others) return [{ id: row.id, leads: true, concepts: conceptsOf(others) }];
      return leader ? [{ id: row.id, leads: false, concepts: conceptsOf([leader]) }] : [];
    });
  }

  placeOf(row: Effect): Place | undefined {
    if (OVER_ALL.includes(row.view)) return undefined;
    const kind = IN_GROUPS.includes(row.view) ? 'group' : 'prompt';
    return this.places.find((place) => place.kind === kind && place.number === row.where);
  }

  words(row: Effect): Promise<{ sentence: string; how_sure: string; cautions: string[] }> {
    return load<WordShard>(wordsName(row.view, row.shard)).then((shard) => ({
      sentence: shard.sentence[row.at], how_sure: shard.how_sure[row.at], cautions: shard.cautions[row.at],
    }));
  }

  async pairFacts(): Promise<Facts> {
    this.facts ??= await load<Facts>('facts');
    return this.facts;
  }

  async membersOf(prompt: number): Promise<Set<number>> {
    this.members ??= await load<Record<string, number[]>>('members');
    let set = this.memberSets.get(prompt);
    if (!set) {
      let at = 0;
      set = new Set((this.members[prompt] ?? []).map((step) => (at += step)));
      this.memberSets.set(prompt, set);
    }
    return set;
  }

  /** Every training pair with the concept and its share of the effect, those that carry it first. */
  async pairsOf(row: Effect): Promise<{ carrying: RankedPair[]; against: RankedPair[] }> {
    const index = this.index!;
    const [facts, scores] = await Promise.all([
      this.pairFacts(), this.entries(row.concept),
    ]);
    const entry = scores[row.concept] ?? { places: [], u: [] };
    const overall = OVER_ALL.includes(row.view);
    const inGroups = IN_GROUPS.includes(row.view);
    const members = overall || inGroups ? null : await this.membersOf(row.where);
    const isInside = (pair: number) => overall || (inGroups ? facts.group_id[pair] === row.where : members!.has(pair));
    const sign = row.delta < 0 ? -1 : 1;
    const carrying: RankedPair[] = [], outside: RankedPair[] = [], against: RankedPair[] = [];
    entry.places.forEach((pair, i) => {
      const u = entry.u[i], inside = isInside(pair);
      if (!inside && inGroups && facts.group_id[pair] === this.silent) return;
      const weight = overall ? 1 / index.n_train : inside ? 1 / row.n_in : -1 / Math.max(1, row.n_out);
      const ranked = { pair, u, share: u * weight, inside };
      if (ranked.share * sign <= 0) against.push(ranked);
      else (inside ? carrying : outside).push(ranked);
    });
    const bySize = (a: RankedPair, b: RankedPair) => Math.abs(b.share) - Math.abs(a.share);
    return { carrying: [...carrying.sort(bySize), ...outside.sort(bySize)], against: against.sort(bySize) };
  }

  private entries = (concept: number) => load<ScoreShard>(numbered('u', Math.floor(concept / this.index!.concepts_of_shard)));

  /** u of a concept on the training pairs that have it. */
  async scoresOf(concept: number): Promise<Scores> {
    return (await this.entries(concept))[concept] ?? { places: [], u: [] };
  }

  /** Concept to u, of those that stand in a pair: |u| of a half, or of two standard deviations. Null where it would
      take more than `MOST_SHARDS` shards to know. */
  async standingIn(pair: number): Promise<Map<number, number> | null> {
    const { n_concepts, concepts_of_shard } = this.index!;
    if (n_concepts / concepts_of_shard > MOST_SHARDS) return null;
    const standing = new Map<number, number>();
    for (let first = 0; first < n_concepts; first += concepts_of_shard)
      for (const [concept, { places, u }] of Object.entries(await this.entries(first))) {
        const at = places.indexOf(pair), number = Number(concept);
        if (at >= 0 && Math.abs(u[at]) >= (this.concepts!.unit[number] === 'sd' ? 2 : 0.5)) standing.set(number, u[at]);
      }
    return standing;
  }

  /** Whether a training pair is of a place. */
  async memberOf(place: Place): Promise<(pair: number) => boolean> {
    const facts = await this.pairFacts();
    if (place.kind === 'group') return (pair) => facts.group_id[pair] === place.number;
    const members = await this.membersOf(place.number);
    return (pair) => members.has(pair);
  }

  /** What a pair's prompt is about: its group, and the prompt concepts that select it. */
  async placesOf(pair: number): Promise<Place[]> {
    const facts = await this.pairFacts();
    this.members ??= await load<Record<string, number[]>>('members');
    const selects = (steps: number[]) => { let at = 0; return steps.some((step) => (at += step) === pair); };
    return this.places.filter((place) => place.kind === 'group'
      ? place.number !== this.silent && place.number === facts.group_id[pair]
      : selects(this.members![place.number] ?? []));
  }

  async curate(change: (value: Curation) => void) {
    const value = structuredClone(this.curation);
    change(value);
    this.curation = await saveCuration(value);
  }

  forecastOf(concept: number): number {
    return this.forecast ? this.forecast.rows.concept_id.indexOf(concept) : -1;
  }

  seenOf(concept: number): number {
    return this.verification ? this.verification.rows.concept_id.indexOf(concept) : -1;
  }
}

export const store = new Store();

export type Page = 'overview' | 'responses' | 'prompts' | 'pairs' | 'outcome' | 'versus' | 'decide' | 'ask';
export const PAGES: { page: Page; label: string; shown: () => boolean }[] = [
  { page: 'overview', label: 'Overview', shown: () => true },
  { page: 'responses', label: 'By response', shown: () => true },
  { page: 'prompts', label: 'By prompt', shown: () => store.places.length > 0 },
  { page: 'pairs', label: 'Pairs', shown: () => true },
  { page: 'outcome', label: 'Forecast and outcome', shown: () => !!(store.forecast || store.verification || store.plans.length || store.doses.length || store.index?.answers) },
  { page: 'versus', label: 'Compare', shown: () => !!store.versus },
  { page: 'decide', label: 'Decide', shown: () => hasServer },
  { page: 'ask', label: 'Ask', shown: () => hasServer },
];

/** The hash: #/page?key=value. */
class Route {
  page = $state<Page>('overview');
  values = $state.raw<Record<string, string>>({});

  constructor() {
    this.read();
    addEventListener('hashchange', () => this.read());
  }

  private read() {
    const [page, query] = location.hash.replace(/^#\/?/, '').split('?');
    this.page = (PAGE_NAMES.includes(page as Page) ? page : 'overview') as Page;
    this.values = Object.fromEntries(new URLSearchParams(query ?? ''));
  }

  get(key: string): string {
    return this.values[key] ?? '';
  }

  /** The address of a place; keys that are "" go. */
  href(page: Page, values: Record<string, string | number | undefined> = {}): string {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(values)) if (value !== undefined && value !== '') query.set(key, String(value));
    const text = query.toString();
    return `#/${page}${text ? `?${text}` : ''}`;
  }

  go(page: Page, values: Record<string, string | number | undefined> = {}) {
    location.hash = this.href(page, values);
  }

  /** Changes some values of the page that is open. */
  set(values: Record<string, string | number | undefined>, replace = false) {
    const href = this.href(this.page, { ...this.values, ...values });
    if (replace) {
      history.replaceState(null, '', href);
      this.read();
    } else location.hash = href;
  }
}

const PAGE_NAMES: Page[] = ['overview', 'responses', 'prompts', 'pairs', 'outcome', 'versus', 'decide', 'ask'];
export const route = new Route();
