/** Which labels of a map are drawn: the largest first, none over another, over a named point or over the edge. */

export interface Label { text: string; x: number; y: number; width: number; weight: number; radius?: number } // x, y, radius: of the point
export interface Drawn { text: string; left: number; top: number }

const HEIGHT = 13, GAP = 2, POINT = 4; // pixels

/** Labels beside their points: right of it, or left where the right is taken or ends; at most `most`. */
export function placed(labels: Label[], box: { left: number; right: number; top: number; bottom: number }, most = 14): Drawn[] {
  const taken = labels.map(({ x, y, radius: r = POINT }) => ({ left: x - r, right: x + r, top: y - r, bottom: y + r }));
  const drawn: Drawn[] = [];
  for (const label of [...labels].sort((a, b) => b.weight - a.weight)) {
    if (drawn.length >= most) break;
    const top = label.y - HEIGHT / 2, gap = (label.radius ?? POINT) + GAP;
    for (const left of [label.x + gap, label.x - gap - label.width]) {
      const rect = { left, right: left + label.width, top, bottom: top + HEIGHT };
      const isInside = rect.left >= box.left && rect.right <= box.right && rect.top >= box.top && rect.bottom <= box.bottom;
      if (!isInside || taken.some((t) => rect.left < t.right && t.left < rect.right && rect.top < t.bottom && t.top < rect.bottom)) continue;
      taken.push(rect);
      drawn.push({ text: label.text, left, top });
      break;
    }
  }
  return drawn;
}
