// From mask logits to the panoptic segmentation: the pixelwise argmax.

import type { Found } from "./classes";

const MIN_AREA = 4; // segments of at most this many pixels are removed

export interface Panoptic {
  /** For each pixel the position of its segment in `kept`, or -1. */
  map: Int8Array;
  /** The pixels of each of `kept`; 0 for what was removed or merged. */
  areas: number[];
}

/**
 * Gives each pixel to the mask that wants it most.
 *
 * mask_logits: (N, side, side); kept: what the queries with a mask found, by
 * ascending query; isthing: whether a label is a thing.  All masks of a stuff
 * class make one segment.  The map is `size` pixels a side.
 */
export function panopticSegmentation(
  mask_logits: Float32Array,
  side: number,
  kept: Found[],
  isthing: boolean[],
  size: number,
): Panoptic {
  const masks = kept.map(({ query }) =>
    enlarged(
      mask_logits.subarray(query * side * side, (query + 1) * side * side),
      side,
      size,
    ),
  );
  // The first of all masks of the same stuff speaks for them.
  const first = kept.map(({ label }, i) =>
    isthing[label] ? i : kept.findIndex((other) => other.label === label),
  );
  let alive = kept.map((_, i) => i);
  while (alive.length > 0) {
    const map = new Int8Array(size * size);
    const areas = kept.map(() => 0);
    const best = masks[alive[0]].slice();
    map.fill(alive[0]);
    for (const i of alive.slice(1)) {
      const mask = masks[i];
      for (let pixel = 0; pixel < map.length; pixel++) {
        if (mask[pixel] > best[pixel]) {
          best[pixel] = mask[pixel];
          map[pixel] = i;
        }
      }
    }
    for (let pixel = 0; pixel < map.length; pixel++) {
      map[pixel] = first[map[pixel]];
      areas[map[pixel]]++;
    }
    const large = alive.filter((i) => areas[first[i]] > MIN_AREA);
    if (large.length === alive.length) return { map, areas };
    alive = large; // and once more, without the tiny ones
  }
  return { map: new Int8Array(size * size).fill(-1), areas: [] };
}

/** Bilinear interpolation, as PyTorch's with align_corners=False. */
export function enlarged(
  mask: Float32Array,
  side: number,
  size: number,
): Float32Array {
  // Between which two rows or columns a pixel lies, and how near the second.
  const low = new Int32Array(size);
  const high = new Int32Array(size);
  const part = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const place = Math.max(0, ((i + 0.5) * side) / size - 0.5);
    low[i] = Math.floor(place);
    high[i] = Math.min(low[i] + 1, side - 1);
    part[i] = place - low[i];
  }
  const wide = new Float32Array(side * size); // rows first, then columns
  for (let y = 0, i = 0; y < side; y++) {
    for (let x = 0; x < size; x++, i++) {
      const left = mask[y * side + low[x]];
      const right = mask[y * side + high[x]];
      wide[i] = (1 - part[x]) * left + part[x] * right;
    }
  }
  const result = new Float32Array(size * size);
  for (let y = 0, i = 0; y < size; y++) {
    const [above, below] = [low[y] * size, high[y] * size];
    const [stay, move] = [1 - part[y], part[y]];
    for (let x = 0; x < size; x++, i++) {
      result[i] = stay * wide[above + x] + move * wide[below + x];
    }
  }
  return result;
}
