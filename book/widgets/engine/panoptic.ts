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
    for (let pixel = 0; pixel < map.length; pixel++) {
      let best = alive[0];
      for (const i of alive) {
        if (masks[i][pixel] > masks[best][pixel]) best = i;
      }
      map[pixel] = first[best];
      areas[first[best]]++;
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
  const result = new Float32Array(size * size);
  const steps = Array.from({ length: size }, (_, i) => {
    const place = Math.max(0, ((i + 0.5) * side) / size - 0.5);
    const low = Math.floor(place);
    return { low, high: Math.min(low + 1, side - 1), part: place - low };
  });
  steps.forEach((y, row) => {
    const [above, below] = [y.low * side, y.high * side];
    steps.forEach((x, column) => {
      const top =
        (1 - x.part) * mask[above + x.low] + x.part * mask[above + x.high];
      const bottom =
        (1 - x.part) * mask[below + x.low] + x.part * mask[below + x.high];
      result[row * size + column] = (1 - y.part) * top + y.part * bottom;
    });
  });
  return result;
}
