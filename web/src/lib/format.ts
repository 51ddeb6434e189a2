import type { Num } from './contract';

export const count = (n: number) => n.toLocaleString('en-US');

/** A number with its sign, three digits after the point, one more below 0.01. */
export function signed(value: Num | undefined, digits = 3): string {
  if (value === null || value === undefined) return '–';
  const d = digits > 2 && Math.abs(value) < 0.01 ? digits + 1 : digits;
  const text = Math.abs(value).toFixed(d);
  return Number(text) === 0 ? '0' : `${value < 0 ? '−' : '+'}${text}`;
}

export function plain(value: Num | undefined, digits = 3): string {
  if (value === null || value === undefined) return '–';
  if (value !== 0 && Math.abs(value) < 10 ** -digits) return value.toExponential(1).replaceAll('-', '−');
  return Number(value.toFixed(digits)).toString().replace('-', '−');
}

/** Kinds of concepts, as a reader is told them; in this order. */
export const KINDS: Record<string, string> = {
  pattern: 'patterns of the text', detector: 'detectors', community: 'features that fire together', feature: 'single features',
  shift_max: 'response shifts (max)', shift_freq: 'response shifts (freq)',
};
/** The same, as short as a tab is. */
export const SHORT_KINDS: Record<string, string> = {
  pattern: 'patterns', detector: 'detectors', community: 'communities', feature: 'features', shift_max: 'shifts (max)', shift_freq: 'shifts (freq)',
};
export const inOrder = (kinds: Iterable<string>) => {
  const order = Object.keys(KINDS);
  return [...new Set(kinds)].sort((a, b) => order.indexOf(a) - order.indexOf(b));
};

/** An effect in the words of its unit: percentage points of answers or pairs, or standard deviations. */
export function amount(value: Num | undefined, unit: string): string {
  if (value === null || value === undefined) return '–';
  if (unit === 'sd') return signed(value, 2) === '0' ? '0' : `${signed(value, 2)} sd`;
  const text = Math.abs(100 * value).toFixed(1);
  return Number(text) === 0 ? '0' : `${value < 0 ? '−' : '+'}${text}`;
}

/** An effect that prints as 0 and is not sure: there is nothing to look at. */
export const isNothing = (row: { effect: number; unit: string; sure: boolean }) => !row.sure && amount(row.effect, row.unit) === '0';

export const unitWords = (kind: string, unit: string) =>
  unit === 'sd' ? 'standard deviations'
    : kind === 'pattern' || kind === 'detector' ? 'points: answers in 100, chosen less rejected'
      : 'points: pairs in 100 that show it more in chosen, less those in rejected';

export function share(value: Num | undefined): string {
  if (value === null || value === undefined) return '–';
  const percent = 100 * value;
  if (percent > 0 && percent < 0.05) return 'under 0.1 %';
  return (percent > 0 && percent < 9.95 ? `${percent.toFixed(1)} %` : `${percent.toFixed(0)} %`).replace('-', '−');
}

/** 1 − lfsr, never rounded to certainty. */
export function certain(lfsr: Num): string {
  if (lfsr === null) return '?';
  if (lfsr < 0.001) return '> 99.9 %';
  const right = 100 * (1 - lfsr);
  return lfsr < 0.05 ? `${(Math.floor(10 * right) / 10).toFixed(1)} %` : `${Math.max(0, Math.floor(right))} %`;
}

const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
/** Characters that change what is read but cannot be seen, spelled out. */
export const visible = (text: string) =>
  text.replace(INVISIBLE, (c) => `‹U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}›`);

/** A name in quotation marks, once. */
export const quoted = (name: string) => (/^[“"]/.test(name) ? name : `“${name}”`);
/** Our own sentences: a number and its per cent sign stay on one line. */
export const prose = (text: string) => visible(text).replace(/(\d) %/g, '$1\u00a0%');

export function snippet(text: string, width: number, at = 0): string {
  const start = Math.max(0, at - 30);
  const flat = text.slice(start, start + 3 * width).replace(/\s+/g, ' ').trim();
  return visible((start ? '…' : '') + (flat.length > width ? `${flat.slice(0, width - 1)}…` : flat));
}
