import type { Concepts } from './contract';
import { OVER_ALL } from './contract';
import type { Effect, Place } from './store.svelte';

/** What plan.yaml calls an effect: a pattern by its name, a concept, or a concept in a place. */
export function targetOf(row: Pick<Effect, 'view' | 'id' | 'concept'>, concepts: Pick<Concepts, 'pattern' | 'detector'>): string {
  if (!OVER_ALL.includes(row.view)) return row.id;
  const { pattern, detector } = concepts;
  if (pattern[row.concept]) return `pattern:${pattern[row.concept]}`;
  return detector[row.concept] ? `detector:${detector[row.concept]}` : `concept:${row.concept}`;
}

export const targetOfPlace = (place: Pick<Place, 'kind' | 'number'>) => `${place.kind === 'group' ? 'group' : 'prompt'}:${place.number}`;

/** The concept that a target or a driver is about; null for a set of pairs, and for a name that the run has not. */
export function conceptOf(text: string, concepts: Pick<Concepts, 'pattern' | 'detector'>): number | null {
  const [word, ...parts] = text.split(':');
  if (word === 'logit') return conceptOf(`detector:${parts.join(':')}`, concepts);
  const number = Number(parts.at(-1));
  if (word === 'pattern' || word === 'detector') {
    const at = concepts[word].indexOf(parts.join(':'));
    if (at >= 0) return at;
  }
  const isEffect = parts.length === 2 && /^(group|prompt_max|prompt_freq|pattern_group|detector_group)$/.test(word);
  const isConcept = parts.length === 1 && /^(concept|global|pattern|detector)$/.test(word);
  return (isEffect || isConcept) && parts.every((part) => /^\d+$/.test(part)) ? number : null;
}
