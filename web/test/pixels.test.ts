import { describe, expect, it } from 'vitest';

import { mixed, nearestPoint, packed, rgb, square } from '../src/lib/pixels';

describe('pixels', () => {
  it('reads a colour as a canvas writes it, and packs it as an image holds it', () => {
    expect(rgb('#1668b8')).toEqual([22, 104, 184]);
    const pixels = new Uint32Array([packed([22, 104, 184])]);
    expect([...new Uint8ClampedArray(pixels.buffer)]).toEqual([22, 104, 184, 255]);
  });

  it('mixes two colours', () => {
    expect(mixed([0, 100, 200], [100, 200, 0], 0.25)).toEqual([25, 125, 150]);
  });

  it('paints a square, and nothing past the edges', () => {
    const pixels = new Uint32Array(5 * 4);
    square(pixels, 5, 4, 2.5, 1.5, 3, 7);
    expect([...pixels].map((p, i) => (p ? i : -1)).filter((i) => i >= 0)).toEqual([1, 2, 3, 6, 7, 8, 11, 12, 13]);
    pixels.fill(0);
    square(pixels, 5, 4, 0, 4, 2, 7);
    expect([...pixels].map((p, i) => (p ? i : -1)).filter((i) => i >= 0)).toEqual([15]);
    pixels.fill(0);
    square(pixels, 5, 4, -9, 20, 3, 7);
    expect(pixels.some((p) => p)).toBe(false);
  });

  it('finds the nearest point within reach', () => {
    const px = Float32Array.of(0, 10, 11), py = Float32Array.of(0, 10, 10);
    expect(nearestPoint(px, py, 10.6, 10, 8)).toEqual({ point: 2, x: 11, y: 10 });
    expect(nearestPoint(px, py, 30, 30, 8)).toBeNull();
    expect(nearestPoint(new Float32Array(), new Float32Array(), 0, 0, 8)).toBeNull();
  });
});
