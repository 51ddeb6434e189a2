/** How effects and entries are searched and ordered. */

interface Sized { sure: boolean; effect: number }

/** Sure ones first, then the largest. */
export const bySize = (a: Sized, b: Sized) => Number(b.sure) - Number(a.sure) || Math.abs(b.effect) - Math.abs(a.effect);

/** True if the effect goes before the one that was best until now. */
export const isStronger = (row: Sized, best: Sized | null | undefined) => !best || bySize(row, best) < 0;

/** True if one of the texts holds the query, whatever its case; every text holds the empty one. */
export const holds = (texts: string[], query: string) => !query || texts.some((text) => text.toLowerCase().includes(query.toLowerCase()));

/** A name without the number that tells it from others of the same name. */
export const baseName = (name: string) => name.replace(/ #\d+$/, '');

/** Entries of one base name and direction as one: the first of each, and how many more there are. */
export function stacked<T>(entries: T[], nameOf: (entry: T) => string, upOf: (entry: T) => boolean): { entry: T; more: number }[] {
  const rows = new Map<string, { entry: T; more: number }>();
  for (const entry of entries) {
    const key = `${upOf(entry)} ${baseName(nameOf(entry))}`, row = rows.get(key);
    if (row) row.more++;
    else rows.set(key, { entry, more: 0 });
  }
  return [...rows.values()];
}
