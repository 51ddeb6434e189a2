import type { Effect, Place } from './store.svelte';
import { store } from './store.svelte';
import { OVER_ALL } from './contract';

/** What plan.yaml calls an effect: a pattern by its name, a concept, or a concept in a place. */
export function targetOf(row: Effect): string {
  if (!OVER_ALL.includes(row.view)) return row.id;
  const { pattern, detector } = store.concepts!;
  if (pattern[row.concept]) return `pattern:${pattern[row.concept]}`;
  return detector[row.concept] ? `detector:${detector[row.concept]}` : `concept:${row.concept}`;
}

export const targetOfPlace = (place: Place) => `${place.kind === 'group' ? 'group' : 'prompt'}:${place.number}`;
