/** Many square points painted into one buffer of pixels: 260,000 rectangles of a canvas take a second, these 10 ms. */

export type Rgb = [number, number, number];

/** "#1668b8", as a canvas gives every opaque colour back. */
export function rgb(hex: string): Rgb {
  const n = parseInt(hex.slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

/** One pixel as its buffer holds it, whatever the machine's order of bytes. */
export function packed([r, g, b]: Rgb): number {
  return new Uint32Array(Uint8ClampedArray.of(r, g, b, 255).buffer)[0];
}

/** `share` of `b` over the rest of `a`. */
export function mixed(a: Rgb, b: Rgb, share: number): Rgb {
  return [0, 1, 2].map((i) => Math.round(a[i] + (b[i] - a[i]) * share)) as Rgb;
}

/** A square of `size` pixels around (x, y), cut off at the edges. */
export function square(pixels: Uint32Array, width: number, height: number, x: number, y: number, size: number, colour: number) {
  const left = Math.round(x - size / 2), top = Math.round(y - size / 2);
  const x1 = Math.min(width, left + size), y1 = Math.min(height, top + size);
  for (let j = Math.max(0, top); j < y1; j++) for (let i = Math.max(0, left); i < x1; i++) pixels[j * width + i] = colour;
}

export interface Near { point: number; x: number; y: number } // pixels of the page

/** The point nearest to (x, y) that is less than `reach` away; null where there is none. */
export function nearestPoint(px: Float32Array, py: Float32Array, x: number, y: number, reach: number): Near | null {
  let best = -1, distance = reach ** 2;
  for (let i = 0; i < px.length; i++) {
    const d = (px[i] - x) ** 2 + (py[i] - y) ** 2;
    if (d < distance) { distance = d; best = i; }
  }
  return best < 0 ? null : { point: best, x: px[best], y: py[best] };
}
