// From mask logits to the panoptic segmentation: the pixelwise argmax.

import type { Found } from "./classes";

/** How masks of one stuff class are merged, and what is too small. */
export interface Ways {
  /** As the paper says, or as the original's code has it: see the package. */
  mode: "union" | "original";
  minArea: number; // segments of at most so many pixels are removed
}

export const USUAL: Ways = { mode: "union", minArea: 4 };

export interface Panoptic {
  /** For each pixel the position of its segment in `kept`, or -1. */
  map: Int8Array;
  /** The mask that wants each pixel most, before any is merged; or -1. */
  owner: Int8Array;
  /** The logits of each of `kept` that were compared, at each pixel. */
  logits: Float32Array[];
  /** The pixels of each of `kept`; 0 for what was removed or merged. */
  areas: number[];
  /** What they were before anything was merged or removed. */
  wanted: number[];
  /** The position of the mask that each one is merged with, or its own. */
  first: number[];
}

/**
 * Gives each pixel to the mask that wants it most.
 *
 * masks: of each of kept, logits of side x side; kept: what their queries
 * found; isthing: whether a label is a thing.  All masks of a stuff class
 * make one segment.  The map is `size` pixels a side.
 */
export function panopticSegmentation(
  masks: Float32Array[],
  side: number,
  kept: Found[],
  isthing: boolean[],
  size: number,
  ways: Ways = USUAL,
): Panoptic {
  const large = masks.map((mask) => enlarged(mask, side, size));
  return segmentsOf(large, kept, isthing, ways);
}

/** The same for masks of the image's size, whatever that is. */
export function segmentsOf(
  large: Float32Array[],
  kept: Found[],
  isthing: boolean[],
  { mode, minArea }: Ways = USUAL,
): Panoptic {
  const pixels = large[0]?.length ?? 0;
  // The first of all masks of the same stuff speaks for them.
  const first = kept.map(({ label }, i) =>
    isthing[label] ? i : kept.findIndex((other) => other.label === label),
  );
  let alive = kept.map((_, i) => i);
  let merge = true;
  let wanted: number[] | undefined;
  while (alive.length > 0) {
    const owner = argmax(large, alive);
    wanted ??= areasOf(owner, kept.length);
    const map = merge ? owner.map((position) => first[position]) : owner;
    const areas = areasOf(map, kept.length);
    const left = alive.filter(
      (i) => areas[mode === "union" ? first[i] : i] > minArea,
    );
    if (left.length === alive.length) {
      return { map, owner, logits: large, areas, wanted, first };
    }
    alive = left; // and once more, without the tiny ones
    // The original forgets here that it merges.  A mask that was merged into
    // another has no pixel of its own, so it is gone by now.
    merge = mode === "union";
  }
  const map = new Int8Array(pixels).fill(-1);
  const areas = kept.map(() => 0);
  wanted ??= [];
  return { map, owner: map, logits: large, areas, wanted, first };
}

/** For each pixel which of the masks alive has the largest logit. */
function argmax(masks: Float32Array[], alive: number[]): Int8Array {
  const map = new Int8Array(masks[0].length).fill(alive[0]);
  const best = masks[alive[0]].slice();
  for (const i of alive.slice(1)) {
    const mask = masks[i];
    for (let pixel = 0; pixel < map.length; pixel++) {
      if (mask[pixel] > best[pixel]) {
        best[pixel] = mask[pixel];
        map[pixel] = i;
      }
    }
  }
  return map;
}

function areasOf(map: Int8Array, count: number): number[] {
  const areas = new Array<number>(count).fill(0);
  for (const position of map) if (position >= 0) areas[position]++;
  return areas;
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
