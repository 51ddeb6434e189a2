/** How effects and entries are searched and ordered. */

interface Sized { sure: boolean; effect: number }

/** Sure ones first, then the largest. */
export const bySize = (a: Sized, b: Sized) => Number(b.sure) - Number(a.sure) || Math.abs(b.effect) - Math.abs(a.effect);

/** True if the effect goes before the one that was best until now. */
export const isStronger = (row: Sized, best: Sized | null | undefined) => !best || bySize(row, best) < 0;

/** True if one of the texts holds the query, whatever its case; every text holds the empty one. */
export const holds = (texts: string[], query: string) => !query || texts.some((text) => text.toLowerCase().includes(query.toLowerCase()));
